# The smallest vHeat of the tests.
smallest = dict(
    type='vHeat',
    arch=dict(
        embed_dims=8, depths=(1, 1, 1, 1), post_norm=False, layer_scale=None
    ),
    img_size=64,
    drop_path_rate=0.0,
)
