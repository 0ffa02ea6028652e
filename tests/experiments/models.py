"""Models of a user's own, as the text of a module that a test puts where it is found."""

TEACHER = """
import keras

def build(num_classes, image_size, seed=0):
    first = keras.initializers.RandomNormal(seed=seed)
    return keras.Sequential([
        keras.Input((image_size, image_size, 3)),
        keras.layers.Flatten(),
        keras.layers.Dense(num_classes, kernel_initializer=first),
    ])
"""
