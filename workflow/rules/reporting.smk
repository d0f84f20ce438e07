# report          every run's evaluation.jsonl and metrics.jsonl, what was measured of gradients
#                 -> results/<experiment>/tables/, figures/ and report.html, one page with all of it
# track_results   runs, tables, figures and the page -> the MLflow database, brought up to date; synced.json lists what it has.
#                 The database mirrors the files and never gates them: a problem with it is a warning here.


rule report:
    input:
        runs=lambda wildcards: made(wildcards.experiment),
        variances=lambda wildcards: variances(wildcards.experiment),
    output:
        success=report("results/{experiment}/tables/success.csv", caption="../report/success.rst", category="Tables"),
        improvement=report(
            "results/{experiment}/tables/improvement.csv",
            caption="../report/improvement.rst",
            category="Tables",
        ),
        efficiency=report(
            "results/{experiment}/tables/efficiency.csv",
            caption="../report/efficiency.rst",
            category="Tables",
        ),
        page=report("results/{experiment}/report.html", caption="../report/page.rst", category="Report"),
        tables=expand("results/{{experiment}}/{table}", table=FURTHER_TABLES),
        rates=directory("results/{experiment}/tables/rates"),
        figures=report(
            expand("results/{{experiment}}/{figure}", figure=FIGURES),
            caption="../report/figures.rst",
            category="Figures",
        ),
        prints=expand("results/{{experiment}}/{figure}", figure=PRINTS),
    log:
        "results/{experiment}/logs/report.log",
    benchmark:
        "results/{experiment}/benchmarks/report.tsv"
    threads: 1
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(30),
    params:
        folder=subpath(output.success, ancestor=2),
    shell:
        "hiper report {params.folder:q} 2>&1 | tee {log:q}"


rule track_results:
    input:
        results=expand("results/{{experiment}}/{result}", result=RESULTS),
        tracking=ancient("results/{experiment}/tracking/experiment.json"),
    output:
        synced="results/{experiment}/tracking/synced.json",
    log:
        "results/{experiment}/logs/track_results.log",
    benchmark:
        "results/{experiment}/benchmarks/track_results.tsv"
    threads: 1
    resources:
        mem_mb=scaled(1000),
        runtime=scaled(30),
    params:
        folder=subpath(output.synced, ancestor=2),
    shell:
        "hiper track sync {params.folder:q} --best-effort 2>&1 | tee {log:q}"
