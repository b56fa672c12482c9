"""Version specifiers where only bounds of the version are known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from fuaio.probe._bounds import decide_version


@pytest.mark.parametrize(
    ("known", "wanted", "answer"),
    [
        (">=0.3.112", ">=0.3.111", True),
        (">=0.3.112", ">=0.3.112", True),
        (">=0.3.112", ">=0.3.113", None),
        (">=0.3.112", "<0.3.112", False),
        (">=0.3.112", "==0.3.112", None),
        (">=0.3.112", "!=0.3.111", True),
        (">=0.3.112", "!=0.3.113", None),
        (">=0.3.112", "==0.3.*", None),
        (">=0.3.112", "==0.2.*", False),
        (">=0.3.112", ">=0.3.115,<0.3.114", False),
        (">=0.3.112", "===0.3.112", None),
        (">=0.3.111,<0.3.112", "==0.3.*", True),
        (">=0.3.111,<0.3.112", "~=0.3.100", True),
        (">=0.3.111,<0.3.112", "!=0.3.*", False),
        (">=0.3.111,<0.3.112", "<=0.3.111", None),
        (">=0.3.111,<0.3.112", ">=0.3.112", False),
        (">=0.3.111,<0.3.112", ">0.3.110,<1", True),
        ("<0.3.111", "<0.3.111", True),
        ("<0.3.111", ">=0.3.111", False),
        ("<0.3.111", "<0.3.110", None),
        ("==2.3", "==2.3", True),
        ("==2.3", "!=2.3", False),
        ("2.3", ">=2.2,<3", True),
        ("2.3", ">=2.4", False),
        ("2.4rc1", ">=2.3", True),
        ("", ">=2.3", None),
        ("trunk", ">=2.3", None),
        (">=trunk", ">=2.3", None),
        (">=3,<2", ">=1", None),
        ("!=2", ">=1", None),
        (">=1!2", "==1!2.*", None),
        (">=1!2,<1!3", "==1!2.*", True),
        (">=1!2,<1!3", "<3", False),
    ],
)
def test_bounds_decide_what_all_or_none_of_the_versions_within_meet(
    known: str, wanted: str, answer: bool | None
) -> None:
    assert decide_version(known, SpecifierSet(wanted)) is answer


VERSIONS = [f"0.{minor}.{patch}" for minor in range(5) for patch in range(5)]
bounds = st.builds(
    lambda low, high: ",".join(filter(None, (low and f">={low}", high and f"<{high}"))),
    st.sampled_from(["", *VERSIONS]),
    st.sampled_from(["", *VERSIONS]),
).filter(bool)
clauses = st.builds(
    str.__add__,
    st.sampled_from(["==", "!=", ">=", "<=", ">", "<", "~="]),
    st.sampled_from(VERSIONS),
) | st.sampled_from(["==0.2.*", "!=0.2.*", "==0.*", "~=0.2"])


@given(bounds, st.lists(clauses, min_size=1, max_size=3).map(",".join))
def test_a_decision_holds_for_every_version_within_the_bounds(known: str, wanted: str) -> None:
    answer = decide_version(known, SpecifierSet(wanted))
    within = [version for version in VERSIONS if version in SpecifierSet(known)]
    if answer is not None:
        assert {version in SpecifierSet(wanted) for version in within} <= {answer}


@given(st.sampled_from(VERSIONS), st.lists(clauses, min_size=1, max_size=3).map(",".join))
def test_bounds_that_leave_one_version_decide_as_that_version_does(known: str, wanted: str) -> None:
    answer = decide_version(f"=={known}", SpecifierSet(wanted))
    assert answer is (known in SpecifierSet(wanted))
