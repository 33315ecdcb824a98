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
from decimal import Decimal

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


def milliseconds(v):
    """The instant that a text or a number stands for; None where it is none."""
    m = re.fullmatch(r"([1-9]\d{9,10}|[1-9]\d{12,13})(\.\d+)?", v, re.ASCII)
    if m:
        n = Decimal(v) * (1000 if len(m[1]) < 13 else 1)
        return int(n // 1)
    m = not isinstance(v, Number) and re.fullmatch(
        r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:)(\d\d)([.,]\d+)?(Z|z|[+-]\d\d(?::?\d\d)?)?", v, re.ASCII
    )
    if not m:
        return None
    day, clock, second, fraction, zone = m.groups()
    leap = second == "60"
    zone = "+00:00" if zone in (None, "Z", "z") else (zone.replace(":", "") + "00")[:5]
    try:
        t = datetime.fromisoformat(day + "T" + clock + ("59" if leap else second) + zone)
    except ValueError:
        return None
    ms = (t - EPOCH) // timedelta(milliseconds=1) + 1000 * leap
    return ms + int(Decimal("0" + (fraction or ".0").replace(",", ".")) * 1000)


def second_line(v):
    if v is None:
        return ""
    ms = milliseconds(v) if isinstance(v, str) else None
    return canonical(v) if ms is None else str(ms)


WHITE = "[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*"


def third_line(session, ip):
    if type(session) is str and not re.fullmatch(WHITE, session):
        return canonical(session)
    if ip is None or type(ip) is str and re.fullmatch(WHITE, ip):
        return ""
    return canonical(ip)


def identity(c):
    made_of = [c.get(name) for name in ("wisepop_id", "collected_at", "fields")]
    if made_of == [None, None, None]:
        return canonical(c)
    wisepop_id, collected_at, fields = made_of
    return "\n".join([
        first_line(wisepop_id),
        second_line(collected_at),
        third_line(c.get("form_session"), c.get("ip")),
        canonical({} if fields in (None, []) else fields),
    ])


for line in sys.stdin:
    line = line.rstrip("\n")
    c = json.loads(line, parse_int=Number, parse_float=Number)
    print(hashlib.sha256(identity(c).encode()).hexdigest()[:32], line)
