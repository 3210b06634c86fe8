"""Finding faces in pictures and measuring them: what restoration and digital humans begin with."""
