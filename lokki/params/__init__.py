"""Flow parameters, made from the flow function's signature and checked by pydantic.

pydantic is imported for the first value that has to be converted: a flow that is given just what
its annotations say runs without it.
"""

from lokki.params.parameter import MISSING as MISSING
from lokki.params.parameter import Parameter as Parameter
from lokki.params.signature import RESERVED as RESERVED
from lokki.params.signature import Parameters as Parameters
