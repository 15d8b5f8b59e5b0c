"""Graphs in eight bits, by ONNX Runtime's quantiser.

Matrix products scale their activations as they come, or have fixed scales as convolutions do, from inputs that were
recorded. Convolutions whose inputs have outliers that eight bits can't hold beside the rest keep float inputs, and only
their weights are kept in eight bits; such matrix products stay as they are.
"""

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from contracts.errors import InvalidInput

Samples = Sequence[Mapping[str, Any]]

CONVOLUTION: Final = "Conv"
MATRIX_PRODUCTS: Final = ("MatMul", "Gemm")
CALIBRATION_CALLS: Final = 32
"""Calls of the denoiser, spread evenly over the steps and prompts that were recorded."""

LEAST_SIGNAL_DB: Final = 35.0
"""Below this ratio of a convolution's input to the rounding of 256 even steps over its range, it stays float."""

INT8: Final = (2, 3)
"""ONNX's element types uint8 and int8."""

FEWEST_WEIGHTS: Final = 256


def quantise_dynamic(file: Path) -> None:
    """Quantise a graph's matrix products in its place: weights per channel, activations scaled as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _replacing(file) as (source, target):
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=list(MATRIX_PRODUCTS),
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=_has_external_data(file),
        )


def quantise_static(file: Path, samples: Samples) -> None:
    """Quantise matrix products and convolutions in a graph's place, scales of the latter calibrated on real inputs."""
    quantise_dynamic(file)
    chosen = _choose(samples)
    fragile = _find_fragile(file, chosen, (CONVOLUTION,))
    _quantise_calibrated(file, chosen, (CONVOLUTION,), fragile)
    _quantise_weights(file, fragile)


def quantise_symmetric(file: Path, samples: Samples) -> None:
    """Quantise matrix products and convolutions in a graph's place, all with fixed scales around zero.

    Zero points cost an engine that computes in eight bits a pass over each input. Where noise comes in and where the
    answer goes out stay float: rounding there is seen in full, and they are a hundredth of the work.
    """
    chosen, kinds = _choose(samples), (CONVOLUTION, *MATRIX_PRODUCTS)
    fragile = _find_fragile(file, chosen, kinds)
    kept = fragile | _products_of_activations(file) | _find_ends(file, kinds)
    _quantise_calibrated(file, chosen, kinds, kept, symmetric=True)
    _quantise_weights(file, fragile)


def count_int8(file: Path) -> int:
    """Count a graph's weights in eight bits; scales and zero points are none."""
    import onnx

    graph = onnx.load(file, load_external_data=False).graph
    sizes = (math.prod(tensor.dims) for tensor in graph.initializer if tensor.data_type in INT8)
    return sum(size for size in sizes if size >= FEWEST_WEIGHTS)


def _choose(samples: Samples) -> Samples:
    return samples[:: max(1, len(samples) // CALIBRATION_CALLS)]


def _find_fragile(file: Path, samples: Samples, kinds: Sequence[str]) -> set[str]:
    """Name the nodes whose recorded inputs lose too much when they are rounded to eight bits."""
    return {name for name, ratio in _signal_to_rounding(file, samples, kinds).items() if ratio < LEAST_SIGNAL_DB}


def _find_ends(file: Path, kinds: Sequence[str]) -> set[str]:
    """Name the weighted nodes that take a graph's own inputs, and the last one before its answer."""
    import onnx

    graph = onnx.load(file, load_external_data=False).graph
    weights, given = {tensor.name for tensor in graph.initializer}, {entry.name for entry in graph.input}
    weighted = [node for node in graph.node if node.op_type in kinds and not weights.isdisjoint(node.input)]
    return {node.name for node in weighted if node.input[0] in given} | {node.name for node in weighted[-1:]}


def _products_of_activations(file: Path) -> set[str]:
    """Name the matrix products without weights, those within attention: they are few, and keep their precision."""
    import onnx

    graph = onnx.load(file, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    products = (node for node in graph.node if node.op_type in MATRIX_PRODUCTS)
    return {node.name for node in products if weights.isdisjoint(node.input)}


def _quantise_calibrated(
    file: Path, samples: Samples, kinds: Sequence[str], excluded: set[str], *, symmetric: bool = False
) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rows = iter(samples)

        def get_next(self) -> Mapping[str, Any] | None:
            return next(self.rows, None)

    with _replacing(file) as (source, target):
        quantize_static(
            source,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(kinds),
            nodes_to_exclude=sorted(excluded),
            per_channel=True,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": symmetric},
            use_external_data_format=_has_external_data(file),
        )


def _signal_to_rounding(file: Path, samples: Samples, kinds: Sequence[str]) -> dict[str, float]:
    """Measure, for each node of some kinds, its input's power over that of rounding it to 256 even steps, in dB."""
    import onnx
    import onnxruntime

    model = onnx.load(file)
    weights = {tensor.name for tensor in model.graph.initializer}
    weighted = (node for node in model.graph.node if node.op_type in kinds and not weights.isdisjoint(node.input))
    inputs = {node.name: node.input[0] for node in weighted}
    names = sorted(set(inputs.values()) - {entry.name for entry in model.graph.input} - weights)
    if not names:
        return dict.fromkeys(inputs, math.inf)
    for name in names:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    probe = file.with_name("probe.onnx")
    onnx.save(model, probe)
    try:
        session = onnxruntime.InferenceSession(probe, providers=["CPUExecutionProvider"])
        spreads = {name: _Spread() for name in names}
        for sample in samples:
            for name, values in zip(names, session.run(names, sample), strict=True):
                spreads[name].add(values)
    finally:
        probe.unlink()
    # A graph's own inputs are noise and pictures: they have no outliers.
    return {node: spreads[name].ratio_db() if name in spreads else math.inf for node, name in inputs.items()}


class _Spread:
    """Range and power of a tensor over several calls."""

    def __init__(self) -> None:
        self.low = self.high = self.power = self.count = 0.0

    def add(self, values: Any) -> None:
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self.power += float(np.square(values, dtype=np.float64).sum())
        self.count += values.size

    def ratio_db(self) -> float:
        """Return power over rounding: even steps of width d err by d²/12 in the mean square."""
        step = (self.high - self.low) / 255
        return 10 * math.log10(self.power / self.count / (step**2 / 12)) if step and self.power else math.inf


def _quantise_weights(file: Path, nodes: set[str]) -> None:
    """Keep the weights of some convolutions in eight bits, one scale per output channel, and compute in float."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(file)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    added = []
    for node in graph.node:
        chosen = node.name in nodes and node.op_type == CONVOLUTION
        tensor = weights.pop(node.input[1], None) if chosen else None
        if tensor is None:
            continue
        values = numpy_helper.to_array(tensor)
        scale = np.abs(values).reshape(len(values), -1).max(axis=1) / 127
        scale[scale == 0] = 1
        rounded = np.round(values / scale.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
        name = tensor.name
        graph.initializer.remove(tensor)
        parts = {f"{name}_int8": rounded, f"{name}_scale": scale.astype(np.float32)}
        graph.initializer.extend(numpy_helper.from_array(part, key) for key, part in parts.items())
        added.append(helper.make_node("DequantizeLinear", list(parts), [name], name=f"{name}_dequantise", axis=0))
    computed = [*added, *graph.node]
    del graph.node[:]
    graph.node.extend(computed)
    onnx.save(model, file)


def _has_external_data(file: Path) -> bool:
    return any(path.name.startswith(file.name) and path != file for path in file.parent.iterdir())


@contextlib.contextmanager
def _replacing(file: Path) -> Iterator[tuple[Path, Path]]:
    """Give a source without inferred shapes, at which the quantiser stumbles, and a target that takes its place."""
    import onnx

    source, target = file.with_name("source.onnx"), file.with_name("target.onnx")
    model = onnx.load(file)
    del model.graph.value_info[:]
    onnx.save(model, source)
    del model
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield source, target
    except Exception as error:
        raise InvalidInput(f"ONNX Runtime can't quantise {file.parent.name}: {str(error)[:300]}") from error
    finally:
        logging.root.setLevel(level)
        source.unlink(missing_ok=True)
    target.replace(file)
