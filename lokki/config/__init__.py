"""Configuration: one typed schema, its sources in order, and where each value came from."""

from lokki.config.folders import exists as exists
from lokki.config.keys import KEYS as KEYS
from lokki.config.keys import reference as reference
from lokki.config.loading import DEFAULT as DEFAULT
from lokki.config.loading import files as files
from lokki.config.loading import load as load
from lokki.config.paths import anchored as anchored
from lokki.config.paths import journal_path as journal_path
from lokki.config.paths import journal_place as journal_place
from lokki.config.paths import local_path as local_path
from lokki.config.paths import payloads_path as payloads_path
from lokki.config.schema import Architecture as Architecture
from lokki.config.schema import Aws as Aws
from lokki.config.schema import Config as Config
from lokki.config.schema import Local as Local
from lokki.config.schema import Logging as Logging
from lokki.config.schema import Notify as Notify
from lokki.config.schema import Server as Server
from lokki.config.variables import unknown_variables as unknown_variables
