"""What the sections of a line file are made of: strict, frozen pydantic models and the numbers they allow."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Bound = Annotated[float, Field(allow_inf_nan=False)]
ErrorRate = Annotated[float, Field(gt=0, lt=0.5)]


class Section(BaseModel):
    """A part of a line file: unknown keys and wrong types are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
