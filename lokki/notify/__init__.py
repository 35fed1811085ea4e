"""Notices of runs that end, on this machine or a server; on AWS, EventBridge sends them."""
