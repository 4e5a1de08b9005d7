"""All heads, small, by the name of their YAML."""

from qframe.heads import (
    CategoricalHead,
    FullyParameterizedQuantileHead,
    HLGaussHead,
    ImplicitQuantileHead,
    QuantileHead,
    ScalarHead,
)

HEADS = {
    "scalar": ScalarHead,
    "categorical": lambda f, a, **o: CategoricalHead(f, a, num_atoms=5, v_min=-2, v_max=2, **o),
    "hl_gauss": lambda f, a, **o: HLGaussHead(f, a, num_atoms=5, v_min=-2, v_max=2, **o),
    "quantile": lambda f, a, **o: QuantileHead(f, a, num_quantiles=5, **o),
    "implicit_quantile": lambda f, a, **o: ImplicitQuantileHead(
        f, a, num_quantiles=5, num_target_quantiles=4, num_fixed_quantiles=3, embedding_size=6, **o
    ),
    "fully_parameterized_quantile": lambda f, a, **o: FullyParameterizedQuantileHead(
        f, a, num_quantiles=5, embedding_size=6, **({"fraction_rate": 1.0} | o)
    ),
}
