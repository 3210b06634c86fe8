"""Making faces and pictures sharper than they came."""
