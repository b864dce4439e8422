"""The records that everything else passes around, and what their functions take and give.

`records` are data. A model is a `learner`; it meets data through a `federation`; a `scorer` says
what looks harmful, and a `policy` decides. All names are used as `types.NAME`.

Dimensions, used in every shape comment of the project:

    N  training samples          B  slots of a batch (padding carries id N)
    M  held-out scans            S  shape of one stored image: (X, Y, Z), (X, Y, C) or (F,)
    C  centres                   T  stops in a row
    K  classes                   J  samples judged together
    F  features of a sample      R  verifications of one stop
"""

from harmjax.types.federation import *
from harmjax.types.learner import *
from harmjax.types.policy import *
from harmjax.types.records import *
from harmjax.types.scorer import *
