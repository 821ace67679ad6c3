#!/usr/bin/env python3
"""What users met: judge.py turns.jsonl [RELEASE…] ends with 1 when that is not as it should be.

Every turn has an answer, of the release that its headers name; a conversation changes its release
only when it is told so; and of each RELEASE there were some.
"""

import json
import sys
from collections import Counter, defaultdict
from itertools import pairwise


def main(path, *wanted):
    with open(path, encoding="utf-8") as file:
        turns = [json.loads(line) for line in file]
    wrong = [f"no good answer: {one}" for one in turns if one["status"] != 200]
    wrong += [f"the header is another's: {one}" for one in turns
              if one["status"] == 200 and one["release"] != one["spoke"]]
    talks = defaultdict(list)
    for one in turns:
        talks[one["conversation"]].append(one)
    for name, told in talks.items():
        for before, after in pairwise(told):
            if after["release"] != before["release"] and after["moved"] != before["release"]:
                wrong.append(f"{name} changed from {before['release']} untold: {after}")
    seen = Counter(one["release"] for one in turns)
    wrong += [f"nobody was on {release}" for release in wanted if not seen[release]]
    print(f"{len(turns)} turns of {len(talks)} conversations by {dict(seen)}, "
          f"{sum(bool(one['moved']) for one in turns if one['status'] == 200)} moved")
    print("\n".join(wrong[:20]))
    return 1 if wrong or not turns else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
