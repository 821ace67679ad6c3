"""Reading a policy file: text in, a `Policy` out, or all that is wrong with it at once.

The text is parsed into nodes (:mod:`.yaml_nodes`), and the nodes are read along the types of the
policy's models (:mod:`.node_reader`).
"""

from __future__ import annotations

from coalmine.rollout.annotations import places
from coalmine.rollout.doubts import doubts
from coalmine.rollout.node_reader import NodeReader
from coalmine.rollout.policy import Policy
from coalmine.rollout.problems import PolicyError, Problem, problem_at
from coalmine.rollout.yaml_nodes import line_of, parse


def read_policy(text: str, source: str) -> Policy:
    """Return the policy that `text` holds.

    Args:
        text: the YAML.
        source: name of the file, for the messages.

    Raises:
        PolicyError: when it cannot be used; holds every problem, none of them twice.
    """
    root = parse(text, source)
    if isinstance(root, Problem):
        raise PolicyError((root,))
    reader = NodeReader(source, places(Policy))
    policy = reader.model(Policy, root, (), 1)
    if isinstance(policy, Policy) and not reader.found:
        return policy
    raise PolicyError(tuple(sorted(dict.fromkeys(reader.found), key=lambda found: found.line)))


def warnings(policy: Policy, text: str = "", source: str = "") -> list[Problem]:
    """Return what is legal in `policy` but doubtful, for ``coalmine lint``.

    Args:
        policy: the policy.
        text: the YAML that it was read from, to say the lines; may be left out.
        source: name of the file, for the messages.
    """
    root = parse(text, source) if text else None
    if isinstance(root, Problem):
        root = None  # the policy is another text's
    return [
        problem_at(source, line_of(root, path), path, message, hint)
        for path, message, hint in doubts(policy)
    ]


__all__ = ["PolicyError", "Problem", "read_policy", "warnings"]
