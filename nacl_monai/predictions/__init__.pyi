from .finding import find
from .layouts import LAYOUTS, Layout
from .options import Options
from .reading import Case, Reading
from .study import Study

__all__ = ["LAYOUTS", "Case", "Layout", "Options", "Reading", "Study", "find"]
