"""The last stage, for programs that run the stages of inference.yaml themselves, such as MONAI Label.

They call `preprocessing` with the file of a scan, `inferer` with the image and the network, and then `postprocessing`.
"""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from pipeline.errors import ScanError
from pipeline.scoring.predictor import Predictor

logger = logging.getLogger(__name__)


class FindAnomaliesd(MapTransform):
    """Put a map of the scan, on its own grid, in place of the volume that the inferer made of it.

    `data["result"]` gets the warnings about the scan, which are also logged, and the volume that is marked.

    Args:
        keys: keys of the volumes.
        predictor: the predictor, which makes all maps of a scan.
        map_name: "anomalies", "clusters", "surprise" or the name of a score.
        allow_missing_keys: whether keys may be missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        predictor: Predictor,
        map_name: str = "anomalies",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.predictor = predictor
        self.map_name = map_name

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return the data with the map (1, X, Y, Z) of each key.

        Raises:
            ScanError: if the scan cannot be used, or the model makes no such map.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            prediction = self.predictor.finish(result, result[key])
            if self.map_name not in prediction.maps:
                raise ScanError(f"this model makes no map {self.map_name}; it makes {', '.join(prediction.maps)}")
            voxels = torch.as_tensor(prediction.maps[self.map_name])[None]
            result[key] = MetaTensor(voxels, affine=torch.as_tensor(prediction.source.affine))
            result["result"] = {"warnings": list(prediction.warnings)}
            if prediction.findings is not None:
                result["result"] |= prediction.findings.summary()
            for warning in prediction.warnings:
                logger.warning("%s", warning)
        return result
