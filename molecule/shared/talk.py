#!/usr/bin/env python3
"""Conversations that go on until a file appears: what each turn met, a line of JSON each.

talk.py URL SERVICE USERS STOP_FILE [PAUSE] > turns.jsonl: every user talks in conversations of five
turns, one after the other, with PAUSE seconds (0.1) after each; COALMINE_KEY is their key. A line
holds the conversation, its turn, the HTTP status (0 for none), and the release that answered, left
(x-coalmine-moved), and spoke: a simulated engine says its name, a real one (LAB_VLLM) uses words of
its own.
"""

import itertools
import json
import os
import re
import sys
import threading
import time
from pathlib import Path

import requests

TURNS = 5
TOKENS = 6  # enough to be known by; a real engine without a GPU takes 10 ms for each
ONE_BY_ONE = threading.Lock()
LONGEST = 900.0  # seconds; then it ends by itself
WORDS = json.loads(Path(os.environ["LAB_VLLM"], "words.json").read_text(encoding="utf-8")) \
    if os.environ.get("LAB_VLLM") else {}


def speaker(text):
    """The release that said a text, None where none can have."""
    if WORDS:
        said = set(text.split())
        return next((name for name, words in WORDS.items() if said and said <= set(words)), None)
    named = re.match(r"\[(\w+)\]", text)
    return named and named[1]


def turn(url, key, service, name, number):
    """Take one turn."""
    told = {"at": time.time(), "conversation": name, "turn": number, "status": 0}
    try:
        answer = requests.post(
            f"{url}/v1/chat/completions", timeout=60,
            headers={"authorization": f"Bearer {key}", "x-coalmine-session": name},
            json={"model": service, "max_tokens": TOKENS,
                  "messages": [{"role": "user", "content": f"turn {number}"}]})
    except requests.RequestException as error:
        return {**told, "error": str(error)}
    said = answer.json()["choices"][0]["message"]["content"] if answer.ok else ""
    return {**told, "status": answer.status_code, "spoke": speaker(said),
            "release": answer.headers.get("x-coalmine-release"),
            "moved": answer.headers.get("x-coalmine-moved")}


def talk(user, url, key, service, stop, pause, until):
    """Talk until told to stop; conversations are ended, not left."""
    for count in itertools.count():
        for number in range(TURNS):
            told = turn(url, key, service, f"user{user}-{count}", number)
            with ONE_BY_ONE:
                print(json.dumps(told), flush=True)
            time.sleep(pause)
        if stop.exists() or time.monotonic() > until:
            return


def main(url, service, users, stop, pause="0.1"):
    key = os.environ["COALMINE_KEY"]
    until = time.monotonic() + LONGEST
    common = url, key, service, Path(stop), float(pause), until
    threads = [threading.Thread(target=talk, args=(n, *common)) for n in range(int(users))]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
