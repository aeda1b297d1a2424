"""beliefd: active-inference agents for simulators, served. The package for simulators; see README.md."""

from beliefd.advice import ModelWarning
from beliefd.client import Client, connect
from beliefd.keys import Keys
from beliefd.model import Model
from beliefd.population import Population
from beliefd.step import Reading, Step
from beliefd_proto.errors import BeliefdError

__version__ = "0.1.0"

__all__ = [
    "BeliefdError",
    "Client",
    "Keys",
    "Model",
    "ModelWarning",
    "Population",
    "Reading",
    "Step",
    "__version__",
    "connect",
]
