"""Looking at networks: the summary, comparisons, the slides' claims, receptive fields, diagrams, plots, the explorer, and what a
trained network sees in a picture."""

import importlib
from typing import TYPE_CHECKING, Any

from .fields import FieldPair, fields
from .summary import Row, Summary, summary

if TYPE_CHECKING:
    from .animation import Animation, animate_convolution
    from .comparison import Comparison, compare
    from .diagrams import diagram
    from .evidence import Patches, class_activation, feature_maps, occlusion, saliency, top_patches
    from .explorer import explore
    from .field_animation import animate_field
    from .field_pictures import field_picture
    from .galleries import plot_answers, plot_filters, plot_heat, plot_maps, plot_patches
    from .plots import plot_errors, plot_memory, plot_winners, save_figure
    from .slides import check_slides
    from .svg import Picture

_LAZY = {
    "Animation": "animation", "animate_convolution": "animation", "animate_field": "field_animation",
    "Comparison": "comparison", "compare": "comparison", "diagram": "diagrams", "explore": "explorer",
    "field_picture": "field_pictures",
    "Patches": "evidence", "class_activation": "evidence", "feature_maps": "evidence", "occlusion": "evidence",
    "saliency": "evidence", "top_patches": "evidence",
    "plot_answers": "galleries", "plot_filters": "galleries", "plot_heat": "galleries", "plot_maps": "galleries",
    "plot_patches": "galleries",
    "plot_errors": "plots", "plot_memory": "plots", "plot_winners": "plots", "save_figure": "plots",
    "check_slides": "slides", "Picture": "svg",
}  # fmt: skip
"""Names whose module is imported when they are first used, so that `import minicnn` stays quick."""

__all__ = [
    "Animation", "Comparison", "FieldPair", "Patches", "Picture", "Row", "Summary", "animate_convolution",
    "animate_field", "check_slides", "class_activation", "compare", "diagram", "explore", "feature_maps", "field_picture",
    "fields", "occlusion", "plot_answers", "plot_errors", "plot_filters", "plot_heat", "plot_maps", "plot_memory",
    "plot_patches", "plot_winners", "saliency", "save_figure", "summary", "top_patches",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
