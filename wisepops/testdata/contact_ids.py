#!/usr/bin/env python3
"""Works out contact ids without our code, from the text of ContactID's comment.

For each line of its input, which is a contact's JSON: the id, a space, the line.
To see that the vectors are its own:

    cut -c34- contact_ids.txt | python3 contact_ids.py | diff contact_ids.txt -
"""
import hashlib
import json
import re
import sys
from datetime import datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Number(str):
    """A number as it is written."""


def string(s):
    s = re.sub("[\ud800-\udfff]", "\ufffd", s)
    return json.dumps(s, ensure_ascii=False)


def canonical(v):
    if isinstance(v, Number):
        return str(v)
    if isinstance(v, str):
        return string(v)
    if isinstance(v, dict):
        return "{" + ",".join(string(k) + ":" + canonical(v[k]) for k in sorted(v)) + "}"
    if isinstance(v, list):
        return "[" + ",".join(canonical(x) for x in v) + "]"
    return json.dumps(v)


def first_line(v):
    if v is None:
        return ""
    return re.sub("[\ud800-\udfff]", "\ufffd", v) if isinstance(v, str) else canonical(v)


def second_line(v):
    if v is None:
        return ""
    if type(v) is str and re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d", v):
        try:
            t = datetime.fromisoformat(v)
        except ValueError:
            return canonical(v)
        if t.tzinfo is None:
            t = t.replace(tzinfo=timezone.utc)
        return str((t - EPOCH) // timedelta(milliseconds=1))
    return canonical(v)


for line in sys.stdin:
    line = line.rstrip("\n")
    c = json.loads(line, parse_int=Number, parse_float=Number)
    lines = [
        first_line(c.get("wisepop_id")),
        second_line(c.get("collected_at")),
        canonical({} if c.get("fields") in (None, []) else c["fields"]),
    ]
    text = "\n".join(lines).encode()
    print(hashlib.sha256(text).hexdigest()[:32], line)
