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
        """Channels of a late layer, weighted by (y - y without the channel) / y, where y is the objective."""
    def attention_map(
        self,
        *,
        layer: int | str = -1,
        head: int | None = None,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """How much attention each token gets in one layer, whatever the objective: from 0 to 1, over all tokens 1."""
    def attention_rollout(
        self,
        *,
        fusion: Literal["mean", "max", "min"] = "mean",
        discard_ratio: float = 0.0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The product of all layers' attention, half of which a token pays to itself, whatever the objective."""
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
        """The gradient integrated along the path from the image blurred by a Gaussian to the image itself."""
    def cam(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The maps that a network averages over space, weighted by its classifier's weights for the class."""
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
        baselines: float | Tensor = 0.0,
        multiply: bool = True,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """What each value contributes to the change of the objective from a baseline to the input, by the rescale
        rule."""
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
        """The activation at each place projected on the first right singular vector of places times channels."""
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
        """As Eigen-CAM, of gradient times activation, so that it looks at the class."""
    def excitation_backprop(
        self,
        *,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Excitation backprop: the probability that a winner-take-all walk down from the class passes each value."""
    def extremal_perturbation(
        self,
        *,
        areas: float | Sequence[float] = 0.1,
        variant: Literal["preserve", "delete", "dual"] = "preserve",
        n_steps: int = 400,
        grid_size: int = 32,
        sigma: float = 0.09375,
        blur: float = 0.08928571428571429,
        baselines: float | Tensor | None = None,
        learning_rate: float = 0.03,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The mask of a given area that keeps the objective highest when all else is blurred; the mean over `areas`."""
    def feature_ablation(
        self,
        *,
        feature_mask: Tensor | None = None,
        n_segments: int = 50,
        baselines: float | Tensor = 0.0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """f(x) - f(x with a feature off), for one feature after the other."""
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
        """A class activation map of the target's score minus alpha times the mean score of similar classes."""
    def full_grad(
        self,
        *,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Input times gradient and every bias times its gradient, channel by channel in magnitude, as one map."""
    def grad_cam(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Channels of a late layer, weighted by their mean gradient, summed, and by default only what is positive."""
    def grad_cam_element_wise(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Gradient times activation, of which only what is positive in each channel is summed."""
    def grad_cam_plus_plus(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Channels weighted by sum(alpha * max(gradient, 0)), where alpha makes up for the size of the active
        region."""
    def gradient_rollout(
        self,
        *,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Relevance of tokens, carried through all layers by attention times its positive gradient (Chefer et al.)."""
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
        """The gradient at random places between baselines and the input, times their difference: expected gradients."""
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
        """Guided backprop where Grad-CAM sees the class: their product, the map resized to the gradient's
        resolution."""
    def guided_integrated_gradients(
        self,
        *,
        n_steps: int = 200,
        baselines: float | Tensor = 0.0,
        fraction: float = 0.25,
        max_dist: float = 0.02,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The gradient integrated along a path that, at each step, moves the features of the smallest gradients
        first."""
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
        baselines: float | Tensor = 0.0,
        seed: int = 0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The Hilbert-Schmidt independence criterion between each cell of a grid being seen and f, over random
        masks."""
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
        """IBA, per sample: the bits that pass each entry of a layer when noise takes what the objective can do
        without."""
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
        baselines: float | Tensor = 0.0,
        quadrature: Literal[
            "gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"
        ] = "gausslegendre",
        multiply: bool = True,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The gradient integrated along the straight path from a baseline, times the change along it."""
    def internal_influence(
        self,
        *,
        n_steps: int = 50,
        baselines: float | Tensor = 0.0,
        quadrature: Literal[
            "gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"
        ] = "gausslegendre",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The mean gradient at `wrt` while the input goes along the straight path from the baseline."""
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
        """Score-CAM with the score of each channel integrated as its mask grows from nothing to itself in `n_steps`."""
    def kernel_shap(
        self,
        *,
        feature_mask: Tensor | None = None,
        n_segments: int = 50,
        baselines: float | Tensor = 0.0,
        n_samples: int = 1000,
        seed: int = 0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The linear model of f over coalitions, weighted by the Shapley kernel, that is exact at f(x) and
        f(baseline)."""
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
        """Positive gradients times the activation, summed over channels; sharp at early layers too."""
    def layer_conductance(
        self,
        *,
        n_steps: int = 50,
        baselines: float | Tensor = 0.0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """What flows through each neuron of `wrt` on the way from the baseline to the input."""
    def le_grad(
        self,
        *,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The positive gradient of each layer's attention map, averaged over heads, asking tokens and layers."""
    def lime(
        self,
        *,
        feature_mask: Tensor | None = None,
        n_segments: int = 50,
        baselines: float | Tensor = 0.0,
        n_samples: int = 1000,
        seed: int = 0,
        distance: Literal["cosine", "euclidean"] = "cosine",
        kernel_width: float = 0.25,
        regression: Literal["ridge", "lasso"] = "ridge",
        alpha: float | None = None,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The coefficients of the linear model that fits f best near x, over random sets of features that are on."""
    def lrp(
        self,
        *,
        composite: str | Composite = "epsilon_plus",
        epsilon: float | None = None,
        attention: str | None = None,
        rules: Any = None,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Layer-wise relevance propagation: the objective's value, shared out layer by layer."""
    def occlusion(
        self,
        *,
        window: int | Sequence[int] = 32,
        stride: int | Sequence[int] = 16,
        baselines: float | Tensor = 0.0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """f(x) - f(x with a window covered by the baseline), averaged over the windows that cover a pixel."""
    def rise(
        self,
        *,
        n_masks: int = 4000,
        grid_size: int = 7,
        probability: float = 0.5,
        centered: bool = False,
        baselines: float | Tensor = 0.0,
        seed: int = 0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Randomized input sampling: the sum of f(masked x) times the mask, over `n_masks` masks, divided by n_masks
        p."""
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
        """Channels weighted by the softmax of the objective of the image seen through each of them; no gradients."""
    def shapley_cam(
        self,
        *,
        layer: str | int | Sequence[str | int] | None = None,
        relu: bool = True,
        fusion: Literal["mean", "max", "product"] = "mean",
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """Channels weighted by the mean of gradient - 1/2 Hessian * activation: Shapley values to second order."""
    def shapley_value_sampling(
        self,
        *,
        feature_mask: Tensor | None = None,
        n_segments: int = 50,
        baselines: float | Tensor = 0.0,
        n_samples: int = 25,
        seed: int = 0,
        antithetic: bool = True,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The mean, over random orders, of what each feature adds to f when it joins those before it."""
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
        """Grad-CAM++ from the means of the gradient, its square and its cube over `n_samples` noisy copies of the
        input."""
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
        baselines: float | Tensor = 0.0,
        seed: int = 0,
        objective: Objective | None = None,
        wrt: str = "input",
    ) -> Attribution:
        """The total Sobol index of each cell of a grid: a fraction of the variance of f under random masks, in [0,
        1]."""
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
        """Score-CAM with the score of each channel averaged over `n_samples` masks with normal noise of
        `noise_level`."""
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
        """Channels weighted by the mean of their gradient over the places where they are active."""
