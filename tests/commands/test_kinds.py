"""Whatever a key is given is taken, and then stays as it is, or is told in one sentence."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dmp_lightning.commands.checks.keys import COMMANDS, SOMETIMES, kind_of
from dmp_lightning.commands.checks.kinds import check

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted({**SOMETIMES, **{key: 0 for keys in COMMANDS.values() for key in keys}})), JUNK)
def test_junk_is_taken_or_told(key: str, junk: object) -> None:
    for kind in {kind for command in COMMANDS if (kind := kind_of(key, command)) is not None}:
        try:
            taken = check(key, junk, kind)
        except ValueError as error:
            told = str(error)
        else:
            assert check(key, taken, kind) == taken
            continue
        assert told.startswith(f"{key}=")
        assert ": choose " in told
