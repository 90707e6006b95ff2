"""Caffe's messages, as far as AlexNet needs them, made without Caffe and without a compiler.

Names and field numbers are those of the public ``caffe.proto``; a reader takes what it knows by the
numbers, in text by the names.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from quarterturn.errors import ConfigError

Field = tuple[str, int, str]

MESSAGES: dict[str, list[Field]] = {
    "BlobShape": [("dim", 1, "packed int64")],
    # In caffe.proto, data is "repeated float [packed = true]". On the wire that is the same as the
    # bytes of a float32 array, which need not be handed over number by number.
    "BlobProto": [("data", 5, "bytes"), ("shape", 7, "BlobShape")],
    "InputParameter": [("shape", 1, "repeated BlobShape")],
    "ConvolutionParameter": [
        ("num_output", 1, "uint32"),
        ("pad", 3, "repeated uint32"),
        ("kernel_size", 4, "repeated uint32"),
        ("stride", 6, "repeated uint32"),
    ],
    "PoolingParameter": [
        ("pool", 1, "PoolMethod"),
        ("kernel_size", 2, "uint32"),
        ("stride", 3, "uint32"),
    ],
    "InnerProductParameter": [("num_output", 1, "uint32")],
    "LayerParameter": [
        ("name", 1, "string"),
        ("type", 2, "string"),
        ("bottom", 3, "repeated string"),
        ("top", 4, "repeated string"),
        ("blobs", 7, "repeated BlobProto"),
        ("convolution_param", 106, "ConvolutionParameter"),
        ("inner_product_param", 117, "InnerProductParameter"),
        ("pooling_param", 121, "PoolingParameter"),
        ("input_param", 143, "InputParameter"),
    ],
    "NetParameter": [("name", 1, "string"), ("layer", 100, "repeated LayerParameter")],
}
"""Message to fields: name, number, type."""


@cache
def net_parameter() -> Any:
    """The class of Caffe's ``NetParameter``, a whole network.

    Raises:
        ConfigError: protobuf is not installed.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise ConfigError(
            "--format caffe needs an extra: pip install 'quarterturn[caffe]'"
        ) from error
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="quarterturn/caffe.proto", package="caffe", syntax="proto2"
    )
    methods = file.enum_type.add(name="PoolMethod")
    methods.value.add(name="MAX", number=0)
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, words in fields:
            kind = words.split()[-1]
            field = described.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL)
            if words != kind:
                field.label = kinds.LABEL_REPEATED
            if words.startswith("packed"):
                field.options.packed = True
            if kind in MESSAGES or kind == methods.name:
                field.type = kinds.TYPE_MESSAGE if kind in MESSAGES else kinds.TYPE_ENUM
                field.type_name = f".caffe.{kind}"
            else:
                field.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    # A pool of its own: a process that has loaded Caffe's definitions has these names already.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))
