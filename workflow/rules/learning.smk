# From games to trained models.
#
# demonstrations   games -> results/<experiment>/demonstrations/<benchmark>/demonstrations.jsonl, a chat dataset
# tokenizer        demonstrations -> results/<experiment>/tokenizers/<benchmark>-<model>/ (models made from scratch)
# warm_start       demonstrations, tokenizer -> runs/<benchmark>-<model>-warmstart-seed<n>/
# preflight        a tiny model, on the nodes of a model's trainings -> preflight/<model>.json; not for those on one CPU
# train            warm start -> runs/<benchmark>-<model>-<algorithm>-seed<n>/
#
# A run folder's declared output is manifest.json alone, which its stage writes last. Snakemake deletes the declared
# outputs of a job that failed or is about to run; model/, metrics.jsonl and checkpoints/ beside it stay, so that a run
# cut short resumes from its last checkpoint. For the same reason two runs never share a folder.


rule demonstrations:
    input:
        data=dataset,
        config=ancient(configuration),
    output:
        rows="results/{experiment}/demonstrations/{benchmark}/demonstrations.jsonl",
        manifest="results/{experiment}/demonstrations/{benchmark}/manifest.json",
    log:
        "results/{experiment}/logs/demonstrations/{benchmark}.log",
    benchmark:
        "results/{experiment}/benchmarks/demonstrations/{benchmark}.tsv"
    threads: 1
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(60),
    params:
        settings=reads("demonstrations"),
        folder=subpath(output.rows, parent=True),
    shell:
        "hiper demonstrations {input.config:q} --output {params.folder:q} 2>&1 | tee {log:q}"


rule tokenizer:
    input:
        demonstrations="results/{experiment}/demonstrations/{benchmark}/demonstrations.jsonl",
        config=ancient(configuration),
    output:
        tokenizer="results/{experiment}/tokenizers/{benchmark}-{model}/tokenizer.json",
        config="results/{experiment}/tokenizers/{benchmark}-{model}/tokenizer_config.json",
    log:
        "results/{experiment}/logs/tokenizer/{benchmark}-{model}.log",
    benchmark:
        "results/{experiment}/benchmarks/tokenizer/{benchmark}-{model}.tsv"
    threads: 1
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(30),
    params:
        settings=reads("tokenizer"),
        folder=subpath(output.tokenizer, parent=True),
    shell:
        "hiper tokenizer {input.config:q} --demonstrations {input.demonstrations:q} --output {params.folder:q}"
        " 2>&1 | tee {log:q}"


rule warm_start:
    input:
        unpack(warm_start_materials),
        config=ancient(configuration),
        tracking=ancient("results/{experiment}/tracking/experiment.json"),
    output:
        manifest="results/{experiment}/runs/{benchmark}-{model}-warmstart-seed{seed}/manifest.json",
    log:
        "results/{experiment}/logs/warm_start/{benchmark}-{model}-seed{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/warm_start/{benchmark}-{model}-seed{seed}.tsv"
    threads: cores
    resources:
        **WARM_START,
        mem_mb=memory("warm_start"),
        runtime=scaled(720),
    params:
        settings=reads("warmstart"),
        folder=subpath(output.manifest, parent=True),
        materials=warm_start_options,
    shell:
        "hiper warmstart {params.folder:q} {params.materials:q} 2>&1 | tee {log:q}"


rule preflight:
    input:
        unpack(preflight_materials),
        config=ancient(configuration),
    output:
        "results/{experiment}/preflight/{model}.json",
    log:
        "results/{experiment}/logs/preflight/{model}.log",
    benchmark:
        "results/{experiment}/benchmarks/preflight/{model}.tsv"
    threads: node_cores
    resources:
        **ALL_PROCESSES,
        runtime=scaled(30),
    params:
        tokenizer=lambda wildcards, input: (
            ["--tokenizer", Path(input.tokenizer).parent] if "tokenizer" in input.keys() else []
        ),
        launcher=launcher,
    shell:
        "{params.launcher}hiper preflight {input.config:q} {params.tokenizer:q} --output {output:q} 2>&1 | tee {log:q}"


rule train:
    input:
        data=dataset,
        preflight=ancient(preflight),
        start="results/{experiment}/runs/{benchmark}-{model}-warmstart-seed{seed}/manifest.json",
        config=ancient(configuration),
        tracking=ancient("results/{experiment}/tracking/experiment.json"),
    output:
        manifest="results/{experiment}/runs/{benchmark}-{model}-{algorithm}-seed{seed}/manifest.json",
    log:
        "results/{experiment}/logs/train/{benchmark}-{model}-{algorithm}-seed{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/train/{benchmark}-{model}-{algorithm}-seed{seed}.tsv"
    threads: node_cores
    resources:
        **ALL_PROCESSES,
        runtime=duration("train", 1440),
        slurm_extra=warning,
    params:
        settings=reads("train"),
        folder=subpath(output.manifest, parent=True),
        start=subpath(input.start, parent=True),
        launcher=launcher,
    shell:
        "{params.launcher}hiper train {params.folder:q} --start {params.start:q}/model 2>&1 | tee {log:q}"
