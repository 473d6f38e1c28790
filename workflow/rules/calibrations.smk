# What is fitted behind a training.

def members(wildcards):
    """The evaluations of the runs that a calibration is of: of an ensemble, those of all seeds."""
    experiment = read_name(wildcards.dataset, wildcards.run)
    seeds = SEEDS if wildcards.calibrator == ENSEMBLE else [experiment.seed]
    return [evaluation_of(run_of(replace(experiment, seed=seed))) for seed in seeds]


def calibration_words(wildcards):
    """The words behind `nacl-monai calibrate RUN` and the data; it fits and evaluates."""
    return f"--calibrator {wildcards.calibrator} {arguments(wildcards)}".rstrip()


# A run that is there already is not trained anew.
rule calibration:
    input: members, data=data_of
    output: evaluation_of(f"{RUN}/calibrated/{{calibrator}}")
    params:
        run=lambda wildcards: RUN.format(dataset=wildcards.dataset, run=wildcards.run),
        calibrate=calibration_words,
    wildcard_constraints: dataset=r"\w+", run=r"[^/]+_seed\d+", calibrator=r"\w+"
    threads: config["threads"]
    resources: gpu_slots=1, **config["resources"]
    shell:
        "export OMP_NUM_THREADS={threads}\n"
        f"{NACL} calibrate {{params.run:q}} --dataset_dir {{input.data:q}} {{params.calibrate}}"


RUN_EVALUATION = evaluation_of("*/*_seed[0-9]*")


def calibrations(_):
    """Whatever can follow every evaluated run, whatever table or figure shows it.

    An ensemble follows the first of `SEEDS`, where runs of all of them are there.
    """
    runs = [
        path.parents[1]
        for path in sorted(Path(RUNS).glob(RUN_EVALUATION))
        if not DATASETS or path.parents[2].name in DATASETS
    ]

    def follows(name, run):
        if name != ENSEMBLE:
            return True
        experiment = read_name(run.parent.name, run.name)
        seeds = {run.with_name(replace(experiment, seed=seed).name) for seed in SEEDS}
        return len(SEEDS) > 1 and experiment.seed == SEEDS[0] and seeds <= set(runs)

    return [
        evaluation_of(RunFolder(run).calibrated(name).path)
        for run in runs
        for name in AFTERWARDS
        if follows(name, run)
    ]


rule calibrations:
    localrule: True
    input: calibrations
