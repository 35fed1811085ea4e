#!/usr/bin/env bash
# aws-croniter 2.1.1: two valid expressions of EventBridge have no next time, a third ends in an error.
# Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet aws-croniter==2.1.1 six==1.17.0

"$work/venv/bin/python" - <<'PYTHON' | tee "$work/seen"
from datetime import UTC, datetime

from aws_croniter import AwsCroniter

EXPRESSIONS = {
    "0 9 ? * 7L *": "the last Saturday of each month, to compare",
    "0 9 ? * L *": "L alone in the day-of-week field: the last day of the week",
    "0 9 29 2 ? *": "each 29 February, asked for after the one of 2096",
    "0 9 LW * ? *": "L and W together in the day-of-month field",
}
for expression, meaning in EXPRESSIONS.items():
    try:
        found = AwsCroniter(expression).get_next(datetime(2096, 3, 1, tzinfo=UTC))
        answer = [str(each) for each in found]
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    print(f"{expression:<18} {meaning}\n    {answer}")
PYTHON

diff - "$work/seen" <<'SEEN'
0 9 ? * 7L *       the last Saturday of each month, to compare
    ['2096-03-31 09:00:00+00:00']
0 9 ? * L *        L alone in the day-of-week field: the last day of the week
    ['None']
0 9 29 2 ? *       each 29 February, asked for after the one of 2096
    ['None']
0 9 LW * ? *       L and W together in the day-of-month field
    ValueError: invalid literal for int() with base 10: 'L'
SEEN
