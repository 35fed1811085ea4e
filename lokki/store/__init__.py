"""Where results are stored: payload stores (``protocol``, ``memory``, ``local``), their encoding.

``keys`` defines where a payload is, ``codec`` its bytes, ``protocol`` what a store must do.
"""
