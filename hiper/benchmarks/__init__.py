"""Text benchmarks: the contract (`base`), its check (`conformance`) and one package per benchmark."""
