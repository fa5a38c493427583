"""CTCs per patient and over patients."""

from dataclasses import replace

import numpy as np
import pytest
from imfish_images import HandDrawnField, one_of_each

from ctc_mm.imaging.io import field_from_arrays
from ctc_mm.imfish import PatientCount, classify_field, count_patients, summarise_patients


def result(drawn, name):
    channels = dict(zip(("dapi", "cep8", "cd45"), drawn.channels(), strict=True))
    return classify_field(field_from_arrays(channels, um_per_px=0.25, name=name))


@pytest.fixture(scope="module")
def results():
    return result(one_of_each(), "a"), result(HandDrawnField(), "b")


def test_no_patient_has_no_mean():
    assert count_patients({}) == []
    with pytest.raises(ValueError, match="there is no patient"):
        summarise_patients([])


def test_fields_of_a_patient_add_up_and_zero_counts(results):
    full, empty = results
    counts = count_patients({"P2": [empty], "P1": [full, replace(full, name="slide 2"), empty]})
    assert [(count.patient, count.ctcs, count.fields, count.blood_ml) for count in counts] == [
        ("P1", 2, 3, 4.0),
        ("P2", 0, 1, 4.0),
    ]
    assert counts[0].nuclei == 2 * len(full.records)
    assert counts[0].judged == 2 * sum(not record.is_rejected for record in full.records)
    cohort = summarise_patients(counts)
    assert (cohort.patients, cohort.mean, cohort.low, cohort.high, cohort.without_ctc) == (2, 1.0, 0, 2, 1)
    assert str(cohort) == "1.0 (0-2)"


def test_table_1_of_the_paper_reads_the_same():
    counts = [PatientCount(str(i), number, 4.0, 1, 20, 20) for i, number in enumerate([0, 318, *[7] * 38, 14, 12, 5])]
    mean = np.mean([count.ctcs for count in counts])
    assert str(summarise_patients(counts)) == f"{mean:.1f} (0-318)"


def test_a_count_keeps_its_volume_until_asked(results):
    count = count_patients({"P": [results[0]]}, blood_ml={"P": 3.0})[0]
    scaled = count.per(7.5)
    assert (count.ctcs, count.blood_ml, count.counted_ml) == (1, 3.0, 3.0)
    assert (scaled.ctcs, scaled.blood_ml, scaled.counted_ml) == (2.5, 7.5, 3.0)


def test_different_volumes_have_no_common_mean(results):
    counts = count_patients({"P": [results[0]], "Q": [results[1]]}, blood_ml={"P": 3.0, "Q": 4.0})
    with pytest.raises(ValueError, match=r"different volumes of blood \(3, 4 mL\).*PatientCount.per"):
        summarise_patients(counts)
    assert summarise_patients([count.per(6.0) for count in counts]).mean == 1.0


def test_what_cannot_be_counted_is_refused(results):
    with pytest.raises(ValueError, match="patient P: field 'a' comes 2 times"):
        count_patients({"P": [results[0], results[0]]})
    with pytest.raises(ValueError, match="patient P has no field"):
        count_patients({"P": []})
    with pytest.raises(ValueError, match="no volume for patient P"):
        count_patients({"P": [results[0]]}, blood_ml={"Q": 4.0})
    with pytest.raises(ValueError, match="`blood_ml` of patient P must be a positive number of mL. Received: 0"):
        count_patients({"P": [results[0]]}, blood_ml=0)
