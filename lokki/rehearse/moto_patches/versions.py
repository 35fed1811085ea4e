"""``AWS::Lambda::Version``: publishes a version, once for each state of its function, and ends it.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-lambda-version.html
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

from lokki.rehearse.moto_patches.lambdas import end_of, version_of
from lokki.rehearse.moto_patches.modules import moto

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_models = moto("awslambda.models")


def change(platform: Platform) -> None:
    version = _models.LambdaVersion
    _models.LambdaStorage.publish_version = _publish
    version.create_from_cloudformation_json = classmethod(cast(Any, _create))
    version.delete = _delete
    version.physical_resource_id = property(lambda self: self.arn)
    version.has_cfn_attr = classmethod(lambda cls, name: name in ("Version", "FunctionArn"))
    version.get_cfn_attribute = lambda self, name: (
        version_of(self.arn) if name == "Version" else self.arn
    )


def _publish(self: Any, name_or_arn: str, description: str = "") -> Any:
    """A version of a function as it is now: the last one, if nothing has changed since.

    Unlike moto's, the number of a version that was deleted is not given again.
    """
    function = self.get_function_by_name_or_arn_forbid_qualifier(name_or_arn)
    number, versions = getattr(function, "published", 0), self._functions[function.function_name]
    if versions["versions"] and not function.code_or_config_updated:
        return versions["versions"][-1]
    function.code_or_config_updated, function.published = False, number + 1
    made = copy.copy(function)
    made.set_version(number + 1)
    made.description = description or made.description
    versions["versions"].append(made)
    self._arns[made.function_arn] = made
    return made


def _create(cls: Any, name: str, document: Any, account_id: str, region: str, **more: Any) -> Any:
    backend, function = _models.get_backend(account_id, region), document["Properties"]
    published = getattr(backend.get_function(function["FunctionName"]), "published", 0)
    made = backend.publish_version(function["FunctionName"], function.get("Description", ""))
    if made.version <= published:
        raise moto("cloudformation.exceptions").ValidationError(
            message=f"A version for this Lambda function exists ( {made.version} ). "
            "Modify the function to create a new version."
        )
    version = cls({"Version": made.version})
    version.arn = made.function_arn
    return version


def _delete(self: Any, account_id: str, region: str) -> None:
    backend = _models.get_backend(account_id, region)
    if backend.get_function_by_arn(self.arn) is not None:  # it may be gone with its function
        backend.delete_function(self.arn)
    end_of(self.arn)
