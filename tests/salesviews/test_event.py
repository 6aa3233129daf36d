"""The declared fields and motifs are those of the design, whose names the witness has typed out by hand."""

import oracle

from salesviews import event
from salesviews.event import Kind, Motif


def test_fields_are_those_of_a_sale():
    """Names and order of the fields, and which are integers and texts, are as the witness has them."""
    assert event.FIELD_NAMES == oracle.FIELDS
    of_kind = {kind: tuple(field.name for field in event.FIELDS if field.kind is kind) for kind in Kind}
    assert of_kind == {
        Kind.INTEGER: oracle.INTEGERS,
        Kind.MONEY: ("montant",),
        Kind.TIMESTAMP: ("timestamp",),
        Kind.TEXT: oracle.TEXTS,
    }


def test_motifs_apply_in_the_order_of_the_design():
    """Motifs, their order, and which field's absence has which are as the witness has them."""
    assert tuple(Motif) == event.REJECTIONS == oracle.REJECTIONS
    assert {field.name: field.absent for field in event.FIELDS if field.absent} == oracle.ABSENCES


def test_an_outcome_has_one_name():
    """No outcome that is no rejection has the name of one."""
    outcomes = [*event.REJECTIONS, event.DOUBLON, event.VALIDE, event.PERDU]
    assert len(set(outcomes)) == len(outcomes)


def test_every_kind_has_an_arrow_type():
    """Each field gives a column."""
    assert [field.arrow.name for field in event.FIELDS] == list(event.FIELD_NAMES)
    assert event.ARROW_TYPES.keys() == set(Kind)
