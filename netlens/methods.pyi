"""The methods of `NetLens`, one for each registered method of attribution.

Written by `python -m tests.lens_stub`; do not edit.
"""

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from netlens.attribution.method import Method
from netlens.objectives import Objective
from netlens.results import Attribution
from netlens.rules.composites import Composite

class Methods:
    def ablation_cam(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        relative: bool = True,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The channels of a late layer, weighted by how far the objective falls without each of them."""
    def attention_map(
        self,
        *,
        layer: int | str = -1,
        head: int | None = None,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """How much attention each token gets in one layer, whatever the objective."""
    def attention_rollout(
        self,
        *,
        fusion: Literal["mean", "max", "min"] = "mean",
        discard_ratio: float = 0.0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The product of the attention of all layers, whatever the objective."""
    def blur_integrated_gradients(
        self,
        *,
        n_steps: int = 50,
        max_sigma: float = 50.0,
        quadrature: Literal[
            "gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"
        ] = "gausslegendre",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The gradient integrated along the path from a blurred image to the image itself."""
    def cam(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The maps that a network averages over space, weighted by the weights of its classifier for the class."""
    def deconvolution(
        self,
        *,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The gradient in which each rectifier passes positive gradients, whatever the sign of its input."""
    def deep_lift(
        self,
        *,
        baselines: float | Tensor | Literal["black", "white", "uniform", "mean", "blur"] = 0.0,
        multiply: bool = True,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The contribution of each value to the change of the objective from a baseline to the input (rescale rule)."""
    def deep_lift_shap(
        self,
        *,
        baselines: Tensor | None = None,
        n_samples: int = 5,
        seed: int = 0,
        multiply: bool = True,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The mean of `DeepLift` over a distribution of baselines, which approximates Shapley values."""
    def eigen_cam(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        centered: bool = False,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The activation at each position, projected on the direction in which the activations vary most."""
    def eigen_grad_cam(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        centered: bool = False,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Eigen-CAM of gradient times activation, so that the map depends on the class."""
    def excitation_backprop(
        self,
        *,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The probability that a random walk from the class down along excitatory connections passes each value."""
    def extremal_perturbation(
        self,
        *,
        areas: float | Sequence[float] = 0.1,
        variant: Literal["preserve", "delete", "dual"] = "preserve",
        n_steps: int = 400,
        grid_size: int = 32,
        sigma: float = 0.09375,
        blur: float = 0.08928571428571429,
        baselines: float | Tensor | Literal["black", "white", "uniform", "mean", "blur"] | None = None,
        learning_rate: float = 0.03,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The mask of a given area that keeps the objective highest while everything else is blurred."""
    def feature_ablation(
        self,
        *,
        feature_mask: Tensor | None = None,
        n_segments: int = 50,
        baselines: float | Tensor | Literal["black", "white", "uniform", "mean", "blur"] = 0.0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """How far the objective falls without each feature, for one feature at a time."""
    def finer_cam(
        self,
        *,
        alpha: float = 0.6,
        n_similar: int = 3,
        comparisons: Sequence[int | str] | None = None,
        method: Method = ...,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The map of a class without what similar classes share with it."""
    def full_grad(
        self,
        *,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The magnitudes of input times gradient, and of each bias times its gradient, as one map."""
    def grad_cam(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The channels of a late layer, weighted by their mean gradient."""
    def grad_cam_element_wise(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The positive part of gradient times activation, summed over channels."""
    def grad_cam_plus_plus(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The channels of a late layer, weighted so that small objects count as much as large ones."""
    def gradient_rollout(
        self,
        *,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The relevance of tokens, carried through all layers by attention times its gradient, where that is
        positive."""
    def gradient_shap(
        self,
        *,
        n_samples: int = 50,
        baselines: float | Tensor = 0.0,
        noise_level: float = 0.0,
        seed: int = 0,
        multiply: bool = True,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Expected gradients: the gradient at random points between baselines and the input, times their difference."""
    def guided_backprop(
        self,
        *,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The gradient that keeps only positive paths: each rectifier passes a gradient only where it is positive."""
    def guided_grad_cam(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        interpolation: Literal["bilinear", "nearest"] = "bilinear",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Guided backprop times Grad-CAM: fine detail where the map of the class is high."""
    def guided_integrated_gradients(
        self,
        *,
        n_steps: int = 200,
        baselines: float | Tensor | Literal["black", "white", "uniform", "mean", "blur"] = 0.0,
        fraction: float = 0.25,
        max_dist: float = 0.02,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The gradient integrated along a path that first moves the features with the smallest gradients."""
    def hi_res_cam(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Gradient times activation, summed over channels."""
    def hsic_attribution(
        self,
        *,
        n_masks: int = 1500,
        grid_size: int = 7,
        baselines: float | Tensor | Literal["black", "white", "uniform", "mean", "blur"] = 0.0,
        seed: int = 0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """How strongly the objective depends on whether each cell of a grid is visible, over random masks."""
    def information_bottleneck(
        self,
        *,
        layer: str | int | None = None,
        beta: float = 10.0,
        n_steps: int = 10,
        n_samples: int = 10,
        learning_rate: float = 1.0,
        sigma: float = 1.0,
        reference: Tensor | None = None,
        seed: int = 0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The bits that pass each entry of a layer when noise replaces what the objective does not need (IBA)."""
    def input_gradient(
        self,
        *,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The gradient with its sign: in which direction each value moves the objective."""
    def input_x_gradient(
        self,
        *,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The gradient of the objective times the input."""
    def integrated_gradients(
        self,
        *,
        n_steps: int = 50,
        baselines: float | Tensor | Literal["black", "white", "uniform", "mean", "blur"] = 0.0,
        quadrature: Literal[
            "gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"
        ] = "gausslegendre",
        multiply: bool = True,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The gradient integrated along the straight path from a baseline to the input, times the change along the
        path."""
    def internal_influence(
        self,
        *,
        n_steps: int = 50,
        baselines: float | Tensor | Literal["black", "white", "uniform", "mean", "blur"] = 0.0,
        quadrature: Literal[
            "gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"
        ] = "gausslegendre",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The mean gradient at a layer while the input follows the straight path from the baseline."""
    def iscam(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        n_channels: int | None = None,
        convention: Literal["paper", "torchcam", "pytorch-grad-cam"] = "paper",
        n_steps: int = 10,
        cumulative: bool = False,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Score-CAM in which the score of each channel is the mean while its mask grows from nothing to its full
        values."""
    def kernel_shap(
        self,
        *,
        feature_mask: Tensor | None = None,
        n_segments: int = 50,
        baselines: float | Tensor | Literal["black", "white", "uniform", "mean", "blur"] = 0.0,
        n_samples: int = 1000,
        seed: int = 0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The Shapley value of each feature, estimated by a weighted linear regression over coalitions."""
    def layer_activation(
        self,
        *,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The activation of a layer, whatever the objective."""
    def layer_cam(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "max",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Positive gradients times the activation, summed over channels: a map that is sharp at early layers too."""
    def layer_conductance(
        self,
        *,
        n_steps: int = 50,
        baselines: float | Tensor | Literal["black", "white", "uniform", "mean", "blur"] = 0.0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """How much of the change of the objective from the baseline to the input passes each neuron of a layer."""
    def le_grad(
        self,
        *,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The positive gradient of the attention maps, averaged over heads, queries and layers."""
    def lime(
        self,
        *,
        feature_mask: Tensor | None = None,
        n_segments: int = 50,
        baselines: float | Tensor | Literal["black", "white", "uniform", "mean", "blur"] = 0.0,
        n_samples: int = 1000,
        seed: int = 0,
        distance: Literal["cosine", "euclidean"] = "cosine",
        kernel_width: float = 0.25,
        regression: Literal["ridge", "lasso"] = "ridge",
        alpha: float | None = None,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The coefficients of the linear model that fits the objective best near the input."""
    def lrp(
        self,
        *,
        composite: str | Composite = "epsilon_plus",
        epsilon: float | None = None,
        attention: Literal["attn_lrp", "constant"] | None = None,
        rules: Any = None,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Layer-wise relevance propagation: the value of the objective, shared among the inputs of each layer in
        turn."""
    def occlusion(
        self,
        *,
        window: int | Sequence[int] = 32,
        stride: int | Sequence[int] = 16,
        baselines: float | Tensor | Literal["black", "white", "uniform", "mean", "blur"] = 0.0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """How far the objective falls when a window of the baseline covers a pixel."""
    def rise(
        self,
        *,
        n_masks: int = 4000,
        grid_size: int = 7,
        probability: float = 0.5,
        centered: bool = False,
        baselines: float | Tensor | Literal["black", "white", "uniform", "mean", "blur"] = 0.0,
        seed: int = 0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The mean of the objective over random masks that show a position (randomized input sampling)."""
    def saliency(
        self,
        *,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """How strongly each value moves the objective: the absolute value of the gradient."""
    def score_cam(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        n_channels: int | None = None,
        convention: Literal["paper", "torchcam", "pytorch-grad-cam"] = "paper",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The channels of a late layer, weighted by the objective of the image that each of them leaves visible."""
    def shapley_cam(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The channels of a late layer, weighted by their Shapley values to second order."""
    def shapley_value_sampling(
        self,
        *,
        feature_mask: Tensor | None = None,
        n_segments: int = 50,
        baselines: float | Tensor | Literal["black", "white", "uniform", "mean", "blur"] = 0.0,
        n_samples: int = 25,
        seed: int = 0,
        antithetic: bool = True,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The Shapley value of each feature: what it adds to the objective when it joins others, over random orders."""
    def smooth_grad_cam_plus_plus(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        n_samples: int = 10,
        noise_level: float = 0.15,
        seed: int = 0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Grad-CAM++ from the mean gradients of noisy copies of the input."""
    def smooth_gradient(
        self,
        *,
        n_samples: int = 25,
        noise_level: float = 0.15,
        seed: int = 0,
        method: Method = ...,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """SmoothGrad: the mean over noisy copies of the input."""
    def smooth_gradient_squared(
        self,
        *,
        n_samples: int = 25,
        noise_level: float = 0.15,
        seed: int = 0,
        method: Method = ...,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """SmoothGrad-Squared: the mean of the squared values over noisy copies of the input."""
    def sobol_attribution(
        self,
        *,
        n_samples: int = 32,
        grid_size: int = 8,
        baselines: float | Tensor | Literal["black", "white", "uniform", "mean", "blur"] = 0.0,
        seed: int = 0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The total Sobol index of each cell of a grid: its share of the variance of the objective under random
        masks."""
    def sscam(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        n_channels: int | None = None,
        convention: Literal["paper", "torchcam", "pytorch-grad-cam"] = "paper",
        n_samples: int = 35,
        noise_level: float = 2.0,
        seed: int = 0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Score-CAM in which the score of each channel is the mean over noisy masks."""
    def var_grad(
        self,
        *,
        n_samples: int = 25,
        noise_level: float = 0.15,
        seed: int = 0,
        method: Method = ...,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """VarGrad: the (population) variance of the values over noisy copies of the input."""
    def x_grad_cam(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The channels of a late layer, weighted by the mean of their gradient over the positions where they are
        active."""
