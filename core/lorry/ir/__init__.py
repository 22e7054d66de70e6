"""The vocabulary: what an adapter is, once it has been read. No torch at import, no plugin's name."""

from lorry.ir.adapter import Adapter as Adapter
from lorry.ir.frame import Frame as Frame
from lorry.ir.layer import Layer as Layer
from lorry.ir.module_path import ModulePath as ModulePath
from lorry.ir.report import Report as Report
from lorry.ir.tensor import TensorRef as TensorRef
from lorry.ir.tensor_map import TensorMap as TensorMap
from lorry.ir.token import Token as Token
