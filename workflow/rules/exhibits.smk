# Tables, figures and the page.

# `snakemake table1` is `snakemake runs/report/table1.json`.
for exhibit in WANTED:
    rule:
        name: exhibit
        localrule: True
        input: MANIFEST.format(exhibit=exhibit)


rule render:
    localrule: True
    input: lambda wildcards: evaluations_of(wildcards.exhibit)
    output: MANIFEST
    params:
        runs=RUNS,
        report=REPORT,
        narrowed=" ".join(
            f"--{option} {' '.join(map(str, values))}"
            for option, values in (
                ("datasets", DATASETS), ("losses", LOSSES), ("seeds", SEEDS)
            )
            if values
        ),
    shell:
        f"{NACL} paper {{wildcards.exhibit}} {{params.runs:q}} --output {{params.report:q}} {{params.narrowed}}"


rule report:
    localrule: True
    input: expand(MANIFEST, exhibit=WANTED)
    output: f"{REPORT}/{PAGE}"
    params: runs=RUNS, report=REPORT
    shell: f"{NACL} paper report {{params.runs:q}} --output {{params.report:q}}"
