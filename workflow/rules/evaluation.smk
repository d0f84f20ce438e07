# evaluate   a run's model -> runs/<run>/evaluation.jsonl, one line per episode. Warm starts are evaluated like any run:
#            they are what RL is compared with.


rule evaluate:
    input:
        data=dataset,
        model="results/{experiment}/runs/{run}/manifest.json",
        config=ancient(configuration),
    output:
        episodes="results/{experiment}/runs/{run}/evaluation.jsonl",
    log:
        "results/{experiment}/logs/evaluate/{run}.log",
    benchmark:
        "results/{experiment}/benchmarks/evaluate/{run}.tsv"
    threads: cores
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        settings=reads("evaluate"),
        folder=subpath(output.episodes, parent=True),
    shell:
        "hiper evaluate {params.folder:q} 2>&1 | tee {log:q}"
