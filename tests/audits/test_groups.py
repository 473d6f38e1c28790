"""The numbers of an audit in groups of patients."""

import numpy as np
import pandas as pd

from nacl_monai.audits.output import number_table
from nacl_monai.evaluations import read_run
from tests.predictions.conftest import Study, softmax_cases
from tests.same import same_bits

THIRDS = ["smallest", "middle", "largest"]


def test_each_group_has_the_numbers_of_an_audit_of_its_own(audited, tmp_path):
    """By a table, and by thirds of the predicted volume; only the leading ones are printed."""
    cases = softmax_cases(cases=6)
    sites = dict(zip(cases, "ABABAA", strict=True))
    table = tmp_path / "groups.csv"
    table.write_text("case,site\n" + "".join(f"{case},{site}\n" for case, site in sites.items()))
    study, alone = (
        Study(tmp_path / name, {case: pair for case, pair in cases.items() if sites[case] in kept})
        for name, kept in (("all", "AB"), ("alone", "A"))
    )

    found = pd.read_csv(audited(study.nnunet(), study.labels, "--groups", table) / "groups.csv")
    expected = number_table(read_run(audited(alone.nnunet(), alone.labels, output="own")))

    of_site = found[found["value"] == "A"].set_index("number")
    assert of_site["patients"].unique().tolist() == [4]
    assert of_site.index.tolist() == expected.index.tolist()
    np.testing.assert_allclose(of_site[["mean", "low", "high"]], expected, atol=1e-6)
    of_volume = found[found["group"] == "predicted volume"]
    volumes = [np.sum(np.argmax(probs, 0) > 0) for probs, _ in cases.values()]
    assert [value.split()[0] for value in dict.fromkeys(of_volume["value"])] == THIRDS
    largest = [case for _, case in sorted(zip(volumes, cases, strict=True))][4:]
    table.write_text("case,site\n" + "".join(f"{case},{case in largest}\n" for case in cases))
    again = pd.read_csv(audited(study.nnunet(), study.labels, "--groups", table) / "groups.csv")
    third = of_volume[of_volume["value"].str.startswith("largest")]
    shown = again[again["value"] == "True"]["mean"]
    same_bits(shown, third["mean"], "the same patients are averaged in the same order")


def test_leading_numbers_are_printed(run, study, tmp_path):
    table = tmp_path / "groups.csv"
    table.write_text("case,site\n" + "".join(f"{case},{case}\n" for case in study.cases))

    _, out, _ = run(study.nnunet(), study.labels, "--groups", table)

    printed = out[out.index("By site:") : out.index("wrote ")]
    assert next(line.split("  ")[0] for line in printed.splitlines()[2:] if line) == "DSC"
    assert "CECE" not in printed


def test_table_that_lacks_a_case_is_refused_before_volumes_are_read(refused, study, tmp_path):
    table = tmp_path / "groups.csv"
    table.write_text("case,site\nnobody,A\n")

    refused("groups.csv: lacks the case", study.nnunet(), study.labels, "--groups", table)
    assert not (tmp_path / "audit").exists()
