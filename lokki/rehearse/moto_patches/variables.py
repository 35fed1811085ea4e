"""The variables that a function has on Lambda.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
and, for their values and for those that are not there, such as HOME, what LocalStack recorded:
lambda_/test_lambda_common::test_introspection_invoke[python3.11], 2026-01-12.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_LIBRARIES = "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib"
_PROGRAMS = "/usr/local/bin:/usr/bin/:/bin:/opt/bin"
_DAEMON = "169.254.100.1"


def variables(
    function: Any, version: str, folder: Path, handler: str, platform: Platform
) -> dict[str, str]:
    """Those that are the same in all environments of a function."""
    region = function.function_arn.split(":")[3]
    managed = {"AWS_EXECUTION_ENV": f"AWS_Lambda_{function.run_time}"}
    return {
        "PATH": f"{os.path.dirname(platform.python)}:{_PROGRAMS}",
        "LD_LIBRARY_PATH": f"{_LIBRARIES}:/opt/lib",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PWD": str(folder),
        "SHLVL": "0",
        "PYTHONPATH": "/var/runtime",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": str(folder),
        "_HANDLER": handler,
        "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
        "AWS_LAMBDA_FUNCTION_VERSION": version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": function.logs_group_name,
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": f"{_DAEMON}:2000",
        "_AWS_XRAY_DAEMON_ADDRESS": _DAEMON,
        "_AWS_XRAY_DAEMON_PORT": "2000",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": "rehearsal",
        "AWS_SECRET_ACCESS_KEY": "rehearsal",
        "AWS_SESSION_TOKEN": "rehearsal",
        **(managed if function.package_type == "Zip" else {}),
    }
