# evaluate   a run's model -> runs/<run>/evaluation.jsonl, one line per episode. Warm starts are evaluated like any run:
#            they are what RL is compared with.
# gradient_variance   a warm start -> results/<experiment>/variance/<run>.json: how noisy the gradients of the grid's
#            algorithms are on the same episodes. Asked for by the report where variance.batches is not 0.


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
        **ONE_PROCESS,
        mem_mb=memory("evaluate"),
        runtime=duration("evaluate", 240),
    params:
        settings=reads("evaluate"),
        folder=subpath(output.episodes, parent=True),
    shell:
        "hiper evaluate {params.folder:q} 2>&1 | tee {log:q}"


rule gradient_variance:
    input:
        data=dataset,
        model="results/{experiment}/runs/{benchmark}-{model}-warmstart-seed{seed}/manifest.json",
        config=ancient(configuration),
    output:
        measured="results/{experiment}/variance/{benchmark}-{model}-warmstart-seed{seed}.json",
    log:
        "results/{experiment}/logs/gradient_variance/{benchmark}-{model}-seed{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/gradient_variance/{benchmark}-{model}-seed{seed}.tsv"
    threads: cores
    resources:
        **ONE_PROCESS,
        mem_mb=memory("gradient_variance"),
        runtime=duration("gradient_variance", 240),
    params:
        settings=reads_with_every_algorithm("variance"),
        algorithms=lambda wildcards: ",".join(algorithms(wildcards.experiment)),
        folder=subpath(input.model, parent=True),
    shell:
        "hiper variance {params.folder:q} --algorithms {params.algorithms:q} --output {output.measured:q}"
        " 2>&1 | tee {log:q}"
