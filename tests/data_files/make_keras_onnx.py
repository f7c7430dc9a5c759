"""Makes ONNX files of Keras networks with tf2onnx, in an environment of its own:

    pip install tensorflow-cpu tf2onnx
    python tests/data_files/make_keras_onnx.py OUT.onnx [--small]

Without ``--small``: MobileNetV2 0.35 at 96 pixels. ``keras_small.onnx`` beside this file is the small one:
ten convolutions with BatchNorm, uneven padding, channels last, a softmax at the end; random weights.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from keras import layers


def inverted_residual(x, channels: int, stride: int):
    y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(2 * x.shape[-1], 1, use_bias=False)(x)))
    if stride == 2:
        y = layers.ZeroPadding2D(((0, 1), (0, 1)))(y)
    padding = "valid" if stride == 2 else "same"
    y = layers.DepthwiseConv2D(3, strides=stride, padding=padding, use_bias=False)(y)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    y = layers.BatchNormalization()(layers.Conv2D(channels, 1, use_bias=False)(y))
    return layers.Add()([x, y]) if stride == 1 and channels == x.shape[-1] else y


def small():
    images = keras.Input((32, 32, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(images)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    for channels, stride in ((8, 1), (12, 2), (12, 1)):
        x = inverted_residual(x, channels, stride)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, layers.Dense(2, activation="softmax")(x))


def settle_(model) -> None:
    """Statistics and a head with which the scores of a random network spread."""
    generator = np.random.default_rng(0)
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    coarse = generator.normal(size=(64, 6, 6, 3)).astype(np.float32)
    images = tf.image.resize(coarse, model.input_shape[1:3], "bicubic")
    for layer in norms:
        layer.momentum = 0.0  # the moving averages become those of the batch
    model(images, training=True)
    *_, head = model.layers
    kernel, bias = head.get_weights()
    head.set_weights([generator.normal(0, 0.5, kernel.shape), bias])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    model = (
        small()
        if options.small
        else keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=2)
    )
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            gain, shift, mean, variance = layer.get_weights()
            mean = generator.normal(0, 0.2, mean.shape)
            layer.set_weights([gain, shift, mean, generator.uniform(0.5, 1.5, variance.shape)])
    if not options.small:
        settle_(model)
    size = model.input_shape[1]
    signature = [tf.TensorSpec((None, size, size, 3), tf.float32, name="input_1")]
    function = tf.function(lambda images: model(images, training=False), input_signature=signature)
    converted, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=15)
    onnx.save(converted, options.out)


if __name__ == "__main__":
    main()
