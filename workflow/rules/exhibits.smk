# Tables, figures and the page.

def asked_for(exhibit):
    """What a table or figure is made as, if anything is left of it."""
    if exhibit not in WANTED:
        sys.exit(f"error: {exhibit}: shows none of the datasets, losses and networks that were chosen; choose others")
    return manifest_of(exhibit)


# `snakemake table1` is `snakemake runs/report/table1.json`.
for exhibit in EXHIBITS:
    rule:
        name: exhibit
        localrule: True
        input: lambda wildcards, exhibit=exhibit: asked_for(exhibit)


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
    input: reproduced
    output: f"{REPORT}/{REPORT_PAGE}"
    params: runs=RUNS, report=REPORT
    shell:
        f"{NACL} paper report {{params.runs:q}} --output {{params.report:q}}"
