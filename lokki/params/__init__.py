"""Flow parameters, made from the flow function's signature and checked by pydantic.

pydantic is imported for the first value that needs conversion: a flow whose values already match
its annotations runs without it.
"""

from lokki.params.parameter import MISSING as MISSING
from lokki.params.parameter import Parameter as Parameter
from lokki.params.signature import RESERVED as RESERVED
from lokki.params.signature import Parameters as Parameters
