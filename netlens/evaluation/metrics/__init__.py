"""Metrics: what is measured of an explanation. A metric is a frozen dataclass whose fields are its options."""

from netlens.evaluation.metrics._axioms import CompletenessGap, InputInvariance, NonSensitivity
from netlens.evaluation.metrics._complexity import EffectivePixels, Entropy, Gini
from netlens.evaluation.metrics._correlations import (
    FaithfulnessCorrelation,
    FaithfulnessEstimate,
    Infidelity,
    Monotonicity,
    SensitivityN,
    correlation,
    rank_correlation,
)
from netlens.evaluation.metrics._curves import (
    Comprehensiveness,
    Curve,
    Deletion,
    Insertion,
    PixelFlipping,
    RegionPerturbation,
    Selectivity,
    Sufficiency,
)
from netlens.evaluation.metrics._imputed import IROF, ROAD
from netlens.evaluation.metrics._localization import (
    AreaUnderROC,
    BestOverlap,
    EnergyInside,
    PointingGame,
    RankAccuracy,
    TopIntersection,
)
from netlens.evaluation.metrics._metric import (
    METRICS,
    Metric,
    metric_name,
    metric_named,
    register_metric,
)
from netlens.evaluation.metrics._robustness import AverageSensitivity, Continuity, LocalLipschitz, MaxSensitivity
from netlens.evaluation.metrics._sanity import ParameterRandomization, RandomClass

__all__ = [
    "IROF",
    "METRICS",
    "ROAD",
    "AreaUnderROC",
    "AverageSensitivity",
    "BestOverlap",
    "CompletenessGap",
    "Comprehensiveness",
    "Continuity",
    "Curve",
    "Deletion",
    "EffectivePixels",
    "EnergyInside",
    "Entropy",
    "FaithfulnessCorrelation",
    "FaithfulnessEstimate",
    "Gini",
    "Infidelity",
    "InputInvariance",
    "Insertion",
    "LocalLipschitz",
    "MaxSensitivity",
    "Metric",
    "Monotonicity",
    "NonSensitivity",
    "ParameterRandomization",
    "PixelFlipping",
    "PointingGame",
    "RandomClass",
    "RankAccuracy",
    "RegionPerturbation",
    "Selectivity",
    "SensitivityN",
    "Sufficiency",
    "TopIntersection",
    "correlation",
    "metric_name",
    "metric_named",
    "rank_correlation",
    "register_metric",
]
