"""``python -m lokki.cli.described FILE``: the flows of a file, as JSON on stdout.

`lokki flows` starts it for each file: an import runs user code and may end the process.
"""

from __future__ import annotations

import json
import sys

from lokki.cli.streams import stdout_to_stderr
from lokki.description import looked_into

if __name__ == "__main__":
    with stdout_to_stderr():
        description = looked_into(sys.argv[1])[1]
    print(json.dumps(description))
