"""The comparison of penalties takes what it is of, and nothing beside it."""

from studies.penalty.comparison import evaluations


def test_runs_of_another_network_are_not_mixed_in(tmp_path):
    """Their names end alike, and their seeds would count as seeds of this one."""
    for network in ("unet", "unet3d", "unet_authors"):
        folder = tmp_path / f"{network}_nacl_seed0/evaluation"
        folder.mkdir(parents=True)
        (folder / "cases.csv").touch()

    for network in ("unet", "unet3d"):
        folder = tmp_path / f"{network}_nacl_seed0/evaluation"
        assert list(evaluations(tmp_path, network)) == [("nacl", 0, folder)]
