"""Where results live: payload stores (``protocol``, ``memory``, ``local``) and their encoding.

``keys`` says where a payload lies, ``codec`` what its bytes are, ``protocol`` what a store owes.
"""
