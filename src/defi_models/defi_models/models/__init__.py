"""The networks: layers, text, autoencoder, GFDM, GIDM, decoder, and DeFI, which couples them."""
