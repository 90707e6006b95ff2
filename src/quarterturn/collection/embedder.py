"""`Embedder`: a trained network as a transformer of scikit-learn.

Shapes: n images; D width of the features.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin
from torch import Tensor

from quarterturn.collection.embed import embed_collection
from quarterturn.collection.options import EmbedOptions
from quarterturn.config import DataConfig
from quarterturn.data.evaluation_transform import EvaluationTransform
from quarterturn.data.file_table import FileTable, unknown_rows
from quarterturn.data.folder import list_images
from quarterturn.data.image_file import Decoding
from quarterturn.data.imageset import ArrayImages, FileImages, ImageSet
from quarterturn.data.source import Source
from quarterturn.data.unreadable import list_unreadable
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import DataError
from quarterturn.features.extraction import extract_parts
from quarterturn.features.network_features import NetworkFeatures
from quarterturn.features.run_features import features_of_run
from quarterturn.runs import Run
from quarterturn.runs.notebooks import require_pandas
from quarterturn.weights.start import run_directory
from quarterturn.weights.weights_as_run import run_of

if TYPE_CHECKING:
    from pandas import DataFrame

FEW = 256
"""Files up to which starting processes that decode them costs more than it saves."""
IMAGES = (
    "expected paths of image files, a folder, Pillow images, or uint8 arrays (n, height, width, 3) "
    "or (n, height, width)"
)


class Embedder(TransformerMixin, BaseEstimator):
    """Features of images by a trained network, as a transformer of scikit-learn.

    There is nothing to fit: the network is trained already. So the features of an image do not
    depend on the others, and are those that ``quarterturn embed`` writes. ::

        few = make_pipeline(qt.Embedder("runs/photos-1"), StandardScaler(), LogisticRegression())
        few.fit(paths, labels).predict(others)

    In a search over settings of the later steps, ``memory=`` of the pipeline keeps the features.

    Args:
        run: A run directory, a file of weights, or ``timm:NAME``.
        half: ``invariant`` (the default if the network has halves), ``rotation``, ``both``, or
            ``with-start``: the invariant half and the feature of the weights that the run began
            with, side by side.
        layer: A whole layer, by name, instead of the last; maps are average-pooled.
        device: ``auto``, ``cpu``, ``cuda`` ...
        workers: Processes that decode files, where there are many.
        batch_size: Images per batch.
        download: Fetch timm's weights where its cache has none.
    """

    def __init__(
        self,
        run: Run | Path | str,
        *,
        half: Literal["invariant", "rotation", "both", "with-start"] | None = None,
        layer: str | None = None,
        device: str = "auto",
        workers: int = 2,
        batch_size: int = 256,
        download: bool = False,
    ) -> None:
        # Kept as they were given, as scikit-learn requires; looked at when they are used.
        self.run, self.half, self.layer = run, half, layer
        self.device, self.workers, self.batch_size = device, workers, batch_size
        self.download = download

    def fit(self, X: Any = None, y: Any = None) -> Embedder:  # noqa: N803
        """Learn nothing: only look whether there are such a network and such features.

        Raises:
            QuarterturnError: There are not.
        """
        self._trained()
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """The features of images, each upright, by its centre crop.

        Args:
            X: Paths of image files, in a list, an array, or a column of a table; the path of one
                file, or of a folder, with all image files below it in the order of their names;
                Pillow images; or uint8 arrays (n, H, W, 3), or (n, H, W) of grey.

        Returns:
            (n, D), a row for each image, in their order.

        Raises:
            DataError: An image cannot be read, so that a row would be missing; or it is something
                else.
        """
        return self._features(_images(X))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """(D,) names of the features, such as ``invariant0``."""
        trained = self._trained()
        return np.array([f"{trained.name}{i}" for i in range(trained.width)], object)

    def to_frame(self, X: Any = None) -> DataFrame:  # noqa: N803
        """The features as a table of pandas.

        Args:
            X: As for `transform`; by default all images of the run, with the columns ``name``,
                ``split`` and ``label`` before the features, as ``embed`` has them.

        Returns:
            A row for each image. With ``X`` the index is its path, or its number.

        Raises:
            ConfigError: pandas is not installed; the run has no images of its own.
            DataError: As for `transform`.
        """
        table = require_pandas("Embedder.to_frame")
        if X is not None:
            images = _images(X)
            values, index = self._features(images), images.names
            return table.DataFrame(values, index, self.get_feature_names_out())
        options = EmbedOptions(
            out=Path(), half=self.half, layer=self.layer, device=self.device, workers=self.workers
        )
        run = Run.open(self._directory())
        runtime = Runtime(self.device, "32-true", single=True)
        found, _ = embed_collection(run, run.data_or_own(None), options, runtime)
        assert found is not None
        frame = table.DataFrame(found.values, columns=self.get_feature_names_out())
        facts = {"name": found.names, "split": found.splits, "label": found.label_words}
        return table.concat([table.DataFrame(facts), frame], axis=1)

    def __sklearn_is_fitted__(self) -> bool:
        """The network is trained already."""
        return True

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn is to know: images come in, and nothing is learned from them."""
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _trained(self) -> _Trained:
        run = self._directory()
        changed = (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns if run.is_dir() else 0
        return _load(run, changed, self.half, self.layer, self.device)

    def _directory(self) -> Path:
        """The directory of a run, or of weights, which are imported first."""
        if isinstance(self.run, Run):
            return self.run.path
        return run_directory(self.run) or run_of(self.run, download=self.download).path

    def _features(self, images: _Images) -> NDArray[np.float32]:
        trained = self._trained()
        if not len(images.names):
            raise DataError(f"there are no images: {IMAGES}")
        if images.pictures is not None:
            return trained.of_pictures(images.pictures, self.batch_size)
        assert images.set_of is not None
        failed: dict[int, str] = {}
        found = extract_parts(
            images.set_of(trained.crop),
            trained.crop,
            trained.model,
            device=trained.device,
            workers=self.workers if len(images.names) > FEW else 0,
            batch_size=self.batch_size,
            failed=failed,
        )[trained.part]
        if failed:
            listed = {images.names[number]: reason for number, reason in failed.items()}
            raise DataError(
                f"{len(failed):,} of {len(images.names):,} images cannot be read: leave them out, "
                "and their labels\n" + "\n".join(list_unreadable(listed))
            )
        return np.asarray(found.values)


@dataclass(frozen=True)
class _Trained:
    """A network that has been loaded, and which of its features are wanted."""

    model: NetworkFeatures
    part: str
    name: str
    crop: DataConfig
    device: torch.device
    width: int

    @torch.no_grad()
    def of_pictures(self, pictures: Sequence[Image.Image], batch_size: int) -> NDArray[np.float32]:
        prepared = EvaluationTransform(self.crop)
        parts: list[Tensor] = []
        for first in range(0, len(pictures), batch_size):
            batch = torch.stack([prepared(one) for one in pictures[first : first + batch_size]])
            parts.append(self.model(batch.to(self.device))[self.part].float().cpu())
        return torch.cat(parts).numpy()


@dataclass(frozen=True)
class _Images:
    """Images as somebody gave them: names, and either Pillow images or how they make a set."""

    names: Sequence[str]
    set_of: Callable[[DataConfig], ImageSet] | None = None
    pictures: Sequence[Image.Image] | None = None


@lru_cache(maxsize=2)
def _load(run: Path, changed_ns: int, half: str | None, layer: str | None, device: str) -> _Trained:
    """A network of a run; it is kept, since a pipeline asks for it again and again.

    Args:
        run: The directory.
        changed_ns: When its checkpoint was written: a later one is another network.
        half: As for `Embedder`.
        layer: As for `Embedder`.
        device: As for `Embedder`.
    """
    opened = Run.open(run)
    where = Runtime(device, "32-true", single=True).device
    model, part = features_of_run(opened, where, half, layer)
    crop = opened.config.data
    width = model.widths(crop.image_size)[part]
    return _Trained(model, part, layer or part, crop, where, width)


def _images(given: Any) -> _Images:
    """Images as somebody gave them."""
    if isinstance(given, str | os.PathLike):
        return _of_paths(_below(Path(os.path.expanduser(given))))
    if hasattr(given, "to_numpy"):  # a table or a column, of pandas or polars
        given = given.to_numpy()
    if isinstance(given, np.ndarray) and given.dtype.kind not in "OUT":
        return _of_array(given)
    items = list(given.ravel() if isinstance(given, np.ndarray) else given)
    if all(isinstance(one, str | os.PathLike) for one in items):
        return _of_paths([Path(os.path.expanduser(one)) for one in items])
    if all(isinstance(one, Image.Image) for one in items):
        return _Images([str(number) for number in range(len(items))], pictures=items)
    try:
        return _of_array(np.stack([np.asarray(one) for one in items]))
    except ValueError as error:
        kinds = sorted({type(one).__name__ for one in items})
        raise DataError(
            f"a list of {', '.join(kinds)} is no list of images of one size: {IMAGES}"
        ) from error


def _below(path: Path) -> list[Path]:
    if path.is_dir():
        return [path / name for name in list_images(path)[0]]
    return [path]


def _of_paths(paths: Sequence[Path]) -> _Images:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{len(missing):,} of {len(paths):,} paths are no files: {missing[0]}")
    names = [str(path) for path in paths]

    def images(crop: DataConfig) -> ImageSet:
        root = os.getcwd()
        table = FileTable(root, names, unknown_rows(len(names)))
        decoding = Decoding(max_pixels=crop.max_pixels)
        found = FileImages(Path(root), table, np.arange(len(names)), decoding=decoding)
        Source("images", found).set_white(crop.white)
        return found

    return _Images(names, images)


def _of_array(array: NDArray[Any]) -> _Images:
    """Images of one size."""
    found = f"an array of {array.dtype} {array.shape}"
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim == 3:
        array = np.repeat(array[..., None], 3, axis=3)
    if array.ndim != 4 or array.shape[3] != 3:
        raise DataError(f"{found} is no images: {IMAGES}")
    if array.dtype != np.uint8:
        raise DataError(
            f"{found} holds no pixels from 0 to 255 in uint8: scale it, and convert it with "
            f".astype(numpy.uint8); {IMAGES}"
        )
    names = [str(number) for number in range(len(array))]
    return _Images(names, lambda crop: ArrayImages(array, names))
