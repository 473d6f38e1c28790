# Data, trainings and their evaluations.

if PHANTOMS:
    rule phantom:
        localrule: True
        output: directory(f"{DATA}/{{dataset}}")
        shell: f"{NACL} phantom {{wildcards.dataset}} {{output:q}}"
               f" --cases {config['phantom_cases']}"


# Two jobs that find no store at the same time would both make one.
STORE = [ancient("runs/mlflow.db")] if config["tracking"] == "mlflow" else []
rule store:
    localrule: True
    output: "runs/mlflow.db"
    shell:
        f"{BIN}python -c \"import mlflow; "
        "mlflow.MlflowClient('sqlite:///{output}').search_experiments()\""


# One job, whose last file alone is Snakemake's: it removes what a failed job has written, and an interrupted
# training must find everything in order to go on where it stopped.
rule experiment:
    input: STORE, data=data_of
    output: evaluation_of(RUN)
    params:
        train=training,
        evaluate=evaluation,
    wildcard_constraints: dataset=r"\w+", run=r"[^/]+_seed\d+"
    threads: config["threads"]
    resources: gpu_slots=1, **config["resources"]
    shell:
        "export OMP_NUM_THREADS={threads}\n"
        f"{NACL} train {{wildcards.dataset}} {{input.data:q}} {{params.train}}\n"
        f"{NACL} evaluate {{wildcards.dataset}} {{input.data:q}} {{params.evaluate}}"
