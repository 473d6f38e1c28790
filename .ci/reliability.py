"""``docs/reliability.md``, made of the names of the tests that hold what it says."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reliability.md"
#: Heading → tests without "test_", whose names are the sentences.
HELD = {
    "Words and settings": """
        run_records_what_was_asked_or_nothing_is_written
        fault_is_one_line_and_no_folder_is_made
        word_by_which_monai_skips_initialize_skips_nothing
        evaluator_has_the_weights_of_the_run_whatever_leads_to_it
        seed_counts_without_initialize
        inference_is_as_strict_without_this_package
        evaluation_without_the_words_of_the_training_is_the_same
        contradiction_is_refused_and_the_evaluation_stays
        inference_believes_the_run_as_well
        contradiction_of_the_record_is_refused
        code_in_a_run_is_executed_only_with_trust
        verb_is_the_command_of_that_name
        paths_are_one_word_of_every_command
    """,
    "Data": """
        fault_of_one_file_is_named_before_training_and_by_the_check
        fault_of_one_file_stops_before_training
        unusual_file_that_training_reads_passes_the_check
        spaces_alphabets_and_links_in_paths_are_harmless
        patient_of_two_sets_is_refused
        same_voxels_in_two_cases_are_refused
        patient_who_trained_cannot_be_put_among_the_others
        affines_may_differ_as_in_training
        affine_is_the_one_that_the_file_declares
        command_tells_what_is_lost_on_demand
        class_that_resampling_leaves_nothing_of_is_lost
        damaged_cache_changes_no_number
        changed_file_replaces_the_cached_one
        name_in_a_dataset_is_data_or_refused
        names_in_an_audit_are_text
    """,
    "What travels between commands": """
        calibration_patient_is_recognized_whatever_labels_are_called
        pattern_and_table_travel_through_sums
        prediction_under_two_names_is_refused
        sites_with_the_same_sums_are_refused
        folder_that_is_a_member_twice_is_refused
        shards_of_another_division_are_refused
        several_cases_of_a_patient_are_not_taken_for_patients
        hidden_names_are_in_no_file_and_compared_by_their_salt
        edited_promise_is_refused_and_a_crafted_one_writes_nowhere_else
        names_that_are_one_file_are_refused
        contours_of_a_promise_stay_where_another_is_made
        each_row_is_used_or_refused
        word_without_effect_is_refused_before_anything_is_read
        python_has_the_options_of_the_command
        chains_go_on_or_are_refused_in_one_line
        python_refuses_what_the_command_refuses
        who_judges_or_is_watched_did_not_calibrate_under_another_name
        prediction_of_a_calibration_patient_is_recognized_under_every_name
        halves_of_two_studies_are_no_whole
        maps_say_what_is_behind_them
        no_file_of_an_anonymous_command_has_a_name_or_a_voxel
        commands_that_name_cases_refuse_the_word
        reading_checks_what_a_fit_to_such_channels_guarantees
        walks_end_in_files_that_agree_or_in_one_line
    """,
    "Training": """
        state_is_the_same_bits
        iteration_is_finished_and_its_state_is_written
        killed_training_ends_with_the_same_bits
        other_split_is_refused
        other_bytes_of_a_recorded_case_are_refused
        other_lengths_are_refused_with_the_reason
        evaluation_warns_of_changed_source_and_a_training_ends
        killed_training_goes_on_longer_as_if_it_had_always_been
        random_transforms_give_the_same_in_any_number_of_workers
        two_processes_equal_one
        numbers_of_two_processes_are_those_of_one
        case_whose_logits_are_not_finite_is_named
        learning_rate_that_only_makes_it_worse_does_not_finish
        longer_interval_is_refused
        lost_model_is_written_again_from_the_best_epoch
        shapes_that_do_not_fit_are_refused
        the_device_checks_values_while_compiling
    """,
    "Evaluations and reports": """
        whatever_happens_to_runs_each_step_is_taken
        reports_say_what_the_files_say_or_refuse
        stale_unfinished_and_damaged_files_are_refused
        patients_are_those_of_the_set
        other_weights_under_the_name_are_noticed
        other_images_than_the_run_recorded_are_not_evaluated
        record_that_was_edited_after_the_training_is_refused
        earlier_evaluation_stays_until_the_end
        kill_leaves_the_old_or_the_new
        impossible_value_is_refused
        error_that_the_bins_do_not_give_is_refused
        what_no_evaluation_wrote_is_refused
        whatever_decides_a_number_must_be_alike
        voxels_are_compared_by_case_region_and_class
        validation_cases_are_no_test_cases
    """,
    "Audits": """
        whatever_is_typed_over_a_folder_is_refused_or_has_the_numbers_of_numpy
        fault_of_a_prediction_is_one_line
        fault_of_a_label_is_one_line
        sigmoid_needs_its_structures
        pickle_that_could_run_or_is_damaged_is_not_loaded
        case_in_two_layouts_is_refused
        channels_in_another_order_are_refused
        what_does_not_belong_together_is_refused
    """,
    "Inference and exports": """
        map_is_where_its_image_is
        same_image_in_other_axes_has_the_same_predictions
        bad_images_do_not_stop_the_others
        maps_among_the_images_are_none
        names_that_differ_in_their_ending_keep_it
        probabilities_that_are_no_numbers_are_not_written
        what_is_no_even_stack_is_refused
        frames_refer_to_the_slices_in_their_place
        inference_needs_nothing_but_the_packages_on_the_card
    """,
    "Files": """
        every_command_refuses_what_it_did_not_write
        disk_that_can_hold_no_more_is_one_line
        command_that_is_killed_within_a_case_leaves_the_maps_before
        next_writer_removes_what_a_killed_one_left
        second_process_is_refused_as_long_as_the_first_lives
        every_warning_and_note_leaves_by_one_way
        no_cell_is_a_formula
        report_that_is_killed_leaves_the_earlier_one_or_nothing
        kill_at_twenty_points_leaves_the_old_or_the_new
        export_that_is_killed_is_repeated_and_leaves_nothing_beside
    """,
}
#: What was drawn and tried, with a pattern of its number in a file of the tests.
TRIED = {
    "command lines over damaged and sound folders, each compared with NumPy": (
        "audits/test_fuzz.py",
        r'"FUZZ_LINES", "(\d+)"',
    ),
    "chains of a file and the command that takes it, with one of 29 faults or none": (
        "promises/test_chains.py",
        r'"CHAINS", "(\d+)"',
    ),
    "walks of one to three commands with any options, some killed first": (
        "promises/test_walks.py",
        r'"WALKS", "(\d+)"',
    ),
    "kills of a report, over an earlier one and where nothing was": (
        "promises/test_report.py",
        r"for kill in range\((\d+)\)",
    ),
    "points at which an audit, a merge and a calibration are killed": (
        "test_output.py",
        r"check_kills\(old, new, output, (20)\)",
    ),
}
_HEAD = """# Reliability

Each sentence is the name of a test in `tests/`, without `test_` and `_`: what it
says is tried, and the test fails where it is not so. A refusal is one line that says where, what, and
what to do. It changes no file. `python .ci/reliability.py` writes this page.
"""
_END = """
## Ended by the system

At SIGTERM, which clusters send, a training finishes its iteration, writes its state to `checkpoints/`
and exits with 143. The same command resumes from there, and on a CPU reaches the bits of an
uninterrupted training. An evaluation ends at once, without a table of some cases. After SIGKILL, a power
cut or Ctrl-C, the same command resumes after the last complete epoch.
"""


def names() -> list[str]:
    """The names of all tests."""
    files = (file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    return [name for text in files for name in re.findall(r"^ *def test_(\w+)", text, re.MULTILINE)]


def tried(file: str, pattern: str) -> int:
    """The number in a file of the tests."""
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    (number,) = {*re.findall(pattern, text)}
    return int(number)


def page() -> str:
    """The page."""
    lines = [_HEAD]
    for heading, held in HELD.items():
        lines += [f"## {heading}\n"]
        lines += [f"- {name[0].upper()}{name[1:].replace('_', ' ')}." for name in held.split()]
        lines += [""]
    lines += ["## What is tried each night\n", "| number | of |", "| ---: | --- |"]
    lines += [f"| {tried(*where):,} | {what} |" for what, where in TRIED.items()]
    count = len(names()) // 500 * 500
    lines += [f"| {count:,} | tests by name and more, most of them of many inputs |"]
    return "\n".join(lines) + "\n" + _END


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
