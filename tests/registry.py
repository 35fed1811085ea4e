"""What CloudFormation's registry says of types of resources."""

from __future__ import annotations

import re

from cfnlint.schema import PROVIDER_SCHEMA_MANAGER


def needs(kind: str) -> set[str]:
    """The permissions that CloudFormation needs for a type of resource, as its schema has them."""
    handlers = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema["handlers"]
    of_kinds = [each["permissions"] for name, each in handlers.items() if name != "list"]
    actions = {action for each in of_kinds for action in each}
    return {re.sub("^.*:", lambda prefix: prefix[0].lower(), action) for action in actions}
