"""AWS prices in US dollars: on demand, in one region, at one date.

They are from the price pages of Lambda, Step Functions, S3 and Fargate at that date; other regions
differ, and prices change. The free tier is not counted.

Those of durable functions are second-hand, read at a later date: quotations of
https://aws.amazon.com/lambda/pricing/ in the notes of others.
"""

from __future__ import annotations

REGION = "us-east-1"
DATE = "2026-03-10"
LAMBDA_REQUEST = 0.20e-6
LAMBDA_GB_SECOND = {"x86_64": 0.0000166667, "arm64": 0.0000133334}
DURABLE_DATE = "2026-11-29"
DURABLE_OPERATION = 8e-6
DURABLE_GB_WRITTEN = 0.25
DURABLE_GB_MONTH = 0.15
"""Of what was written, as long as an execution is kept after its end."""
DAYS_OF_A_MONTH = 30
STATE_TRANSITION = 25e-6
EXPRESS_REQUEST = 1e-6
EXPRESS_GB_SECOND = 0.06 / 3600
"""Of the first 1,000 GB-hours of a month; more cost less."""
EXPRESS_GB = 64 / 1024
"""Memory is charged in units of 64 MB, and 50 MB are the start of an execution's."""
EXPRESS_LEAST_SECONDS = 0.1
"""Time is charged in units of this."""
S3_WRITE = 5e-6
"""A PUT or a LIST."""
S3_READ = 0.4e-6
FARGATE_VCPU_SECOND = {"x86_64": 0.04048 / 3600, "arm64": 0.03238 / 3600}
FARGATE_GB_SECOND = {"x86_64": 0.004445 / 3600, "arm64": 0.00356 / 3600}
STORAGE_GB_SECOND = {"Lambda": 0.0000000309, "Batch": 0.000111 / 3600}
"""Of what a function or a job on Fargate has beyond what is included."""
FARGATE_LEAST_SECONDS = 60
"""The least that a job is charged for."""
