"""Typed settings of a run. The YAML files under `configs/` hold the one default of every setting; these modules hold
their types and limits.

Hydra composes (`hiper.compose`); `parse_run`, `parse_grid` and `parse_benchmark` validate. Every model forbids unknown
keys and has no defaults, so a setting that is missing, misspelt or of the wrong type is an error that names it.
"""

from hiper.config.benchmark import BenchmarkSettings as BenchmarkSettings
from hiper.config.engine import Engine as Engine
from hiper.config.model import Lora as Lora
from hiper.config.rollout import RolloutSettings as RolloutSettings
from hiper.config.run import DATA_PARTS as DATA_PARTS
from hiper.config.run import Critic as Critic
from hiper.config.run import Decoding as Decoding
from hiper.config.run import Grid as Grid
from hiper.config.run import Prompt as Prompt
from hiper.config.run import RunSettings as RunSettings
from hiper.config.run import Training as Training
from hiper.config.run import parse_benchmark as parse_benchmark
from hiper.config.run import parse_grid as parse_grid
from hiper.config.run import parse_run as parse_run
